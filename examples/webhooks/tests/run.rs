//! The program as its users run it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

/// Longer than any run takes.
const PATIENCE: Duration = Duration::from_secs(120);

const EXAMPLES: &str = include_str!("../data/github-webhooks.ndjson");

fn webhooks(arguments: &[&str]) -> Output {
    let child = Command::new(env!("CARGO_BIN_EXE_webhooks"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let (done, output) = mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    let output = output.recv_timeout(PATIENCE);
    output
        .unwrap_or_else(|_| panic!("process {id} hangs: {arguments:?}"))
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The report of a run that succeeds.
fn report(arguments: &[&str]) -> Value {
    let output = webhooks(&[arguments, &["--json"]].concat());
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    serde_json::from_str(out).unwrap()
}

fn group<'a>(report: &'a Value, name: &str) -> &'a Value {
    let groups = report["groups"].as_array().unwrap();
    groups.iter().find(|group| group["name"] == name).unwrap()
}

fn file(name: &str, lines: &[String]) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, lines.join("\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

fn examples() -> Vec<Value> {
    EXAMPLES
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_examples_come_out_as_they_went_in() {
    // Counted here once more, from the file alone.
    let examples = examples();
    let mut kinds = BTreeMap::<&str, u64>::new();
    for line in &examples {
        *kinds.entry(line["event"].as_str().unwrap()).or_default() += 1;
    }
    let builds = kinds["push"] + kinds["pull_request"] + kinds["check_run"];
    let by_bot = |line: &&Value| line["payload"]["sender"]["type"] == "Bot";
    let homeless = |line: &&Value| line["payload"]["repository"].is_null() && !by_bot(line);
    let bots = examples.iter().filter(by_bot).count() as u64;
    let homeless = examples.iter().filter(homeless).count() as u64;

    let report = report(&[]);
    assert_eq!(report["right"], true);
    assert_eq!(report["published"], 329);
    assert_eq!(report["kinds"], json!(kinds));
    assert_eq!(group(&report, "audit")["delivered"], 329);
    assert_eq!(group(&report, "ci")["delivered"], builds);
    let notify = group(&report, "notify");
    assert_eq!(notify["delivered"], 329);
    assert_eq!(notify["dead_lettered"], bots + homeless);
    assert_eq!(notify["redriven"], bots + homeless);
    assert_eq!(notify["retried"], 2 * homeless + kinds["release"]);
    for name in ["audit", "ci", "notify"] {
        assert_eq!(group(&report, name)["lost"], 0, "{name}");
        assert_eq!(group(&report, name)["duplicated"], 0, "{name}");
    }
    let reasons = report["dead_letters"].as_array().unwrap();
    let attempts: Vec<_> = reasons.iter().map(|reason| &reason["attempts"]).collect();
    assert_eq!(attempts, [3, 1]);
}

#[test]
fn a_visitor_sees_a_table_and_no_escape_codes_outside_of_a_terminal() {
    let output = webhooks(&[]);
    let out = text(&output.stdout);
    assert!(output.status.success(), "{out}");
    for word in [
        "dead-lettered",
        "redriven",
        "duplicated",
        "counts are right",
    ] {
        assert!(out.contains(word), "{word}:\n{out}");
    }
    assert!(!out.contains('\u{1b}'), "{out}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn counts_follow_the_input_and_the_repetitions() {
    let chosen = |line: &&Value| {
        matches!(
            line["event"].as_str(),
            Some("push" | "ping" | "release" | "star")
        )
    };
    let lines: Vec<_> = examples()
        .iter()
        .filter(chosen)
        .map(Value::to_string)
        .collect();
    let report = report(&["--input", &file("some.ndjson", &lines), "--repeat", "3"]);
    assert_eq!(report["published"], 3 * lines.len());
    assert_eq!(group(&report, "ci")["delivered"], 3 * 7);
    assert_eq!(group(&report, "notify")["dead_lettered"], 3);
    assert_eq!(
        report["kinds"],
        json!({"ping": 12, "push": 21, "release": 39, "star": 9})
    );
}

#[test]
fn an_input_without_repositories_or_builds_works_too() {
    let line = json!({"event": "zen", "payload": {"hook": 1}}).to_string();
    let report = report(&["--input", &file("zen.ndjson", &[line])]);
    assert_eq!(
        (&report["published"], &report["topics"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(group(&report, "ci")["expected"], 0);
    assert_eq!(group(&report, "notify")["redriven"], 1);
}

#[test]
fn a_malformed_line_is_reported_with_its_number_and_skipped() {
    let good = json!({"event": "star", "action": "created", "payload": {}}).to_string();
    let lines = [good.clone(), "{\"event\": \"star\", ".to_owned(), good];
    let input = file("malformed.ndjson", &lines);
    let output = webhooks(&["--input", &input, "--json"]);
    assert!(output.status.success());
    let err = text(&output.stderr);
    assert!(err.starts_with("skipped line 2: "), "{err}");
    let report: Value = serde_json::from_str(text(&output.stdout)).unwrap();
    assert_eq!(report["published"], 2);
    assert_eq!(report["skipped"][0]["line"], 2);
}

#[test]
fn what_cannot_be_run_is_a_clear_error() {
    let empty = file("empty.ndjson", &[]);
    for (arguments, expected) in [
        (
            &["--input", "no/such/file.ndjson"][..],
            "cannot read no/such/file.ndjson: ",
        ),
        (&["--input", &empty], "holds no webhook"),
        (&["--bus", "memry://"], "did you mean `memory`?"),
        (&["--bus", "nonsense"], "starts with a scheme"),
        (&["--repeat", "0"], "invalid value '0'"),
    ] {
        let output = webhooks(arguments);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {err}");
        assert!(err.contains(expected), "{arguments:?}: {err}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
}
