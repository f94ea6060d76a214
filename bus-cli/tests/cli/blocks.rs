//! The `sh` blocks of all documents are run as they stand, but for those whose fence gives a reason why not:
//! `sh by-hand: REASON`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use integration_tests::brokers::{Broker, Kind, Setup};
use tempfile::TempDir;
use tokio::process::Command;

use crate::common::{Place, finish_within};

/// Longer than any block takes.
const PATIENCE: Duration = Duration::from_secs(240);
/// The server that the documents name.
const SHOWN_URL: &str = "redis://localhost";
/// Programs of the workspace, by their package: a block that runs one gets the one that was built beside this test.
const PROGRAMS: [(&str, &str); 3] = [
    ("bus-cli", "bus"),
    ("orders", "orders"),
    ("webhooks", "webhooks"),
];

/// A block of a document.
struct Block {
    document: PathBuf,
    /// Why it is not run.
    by_hand: Option<String>,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every document of the repository.
fn documents(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && name != "target" && !name.starts_with('.') {
            documents(&path, found);
        } else if kind.is_file() && name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// Its blocks whose fence begins with `language`: what follows on the fence, and the text.
fn fenced(document: &str, language: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in document.lines() {
        match (&mut open, line.trim().strip_prefix("```")) {
            (None, Some(fence)) => open = Some((fence.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, text)), None) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    blocks
        .into_iter()
        .filter_map(|(fence, text)| {
            let rest = fence.strip_prefix(language)?;
            let is_it = rest.is_empty() || rest.starts_with(' ');
            is_it.then(|| (rest.trim().to_owned(), text))
        })
        .collect()
}

fn blocks() -> Vec<Block> {
    let mut all = Vec::new();
    documents(root(), &mut all);
    all.sort();
    let read = |document: PathBuf| {
        let text = std::fs::read_to_string(&document).unwrap();
        let blocks = fenced(&text, "sh").into_iter().map(move |(info, text)| {
            let by_hand = info.strip_prefix("by-hand: ").map(str::to_owned);
            assert!(
                info.is_empty() || by_hand.is_some(),
                "{}: a fence says `sh {info}`; known is `sh by-hand: REASON`",
                document.display()
            );
            Block {
                document: document.clone(),
                by_hand,
                text,
            }
        });
        blocks.collect::<Vec<_>>()
    };
    all.into_iter().flat_map(read).collect()
}

/// A line that runs a program through cargo, as it runs the program that is there already.
fn runs(line: &str, binaries: &Path) -> String {
    let Some(rest) = line.strip_prefix("cargo run -p ") else {
        return line.to_owned();
    };
    let (package, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let (_, program) = PROGRAMS
        .into_iter()
        .find(|(known, _)| *known == package)
        .unwrap_or_else(|| panic!("which program is {package}?"));
    // Everything is built with all features.
    let arguments = rest
        .split_once("-- ")
        .map_or("", |(_, arguments)| arguments);
    format!("{} {arguments}", binaries.join(program).display())
}

/// Builds what this test's own target does not, in the way of all tests, so that nothing is compiled twice.
async fn build() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--workspace", "--all-features"]);
    cargo.args(["--bin", "orders", "--bin", "webhooks"]);
    let status = cargo.current_dir(root()).status().await.unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn every_block_runs_or_says_why_not() {
    build().await;
    let broker = Broker::start(Kind::Redis, Setup::default()).await.unwrap();
    let binaries = Path::new(env!("CARGO_BIN_EXE_bus")).parent().unwrap();
    let mut failures = Vec::new();
    for block in blocks() {
        let name = block.document.strip_prefix(root()).unwrap().display();
        let first = block.text.lines().next().unwrap_or_default();
        if let Some(reason) = block.by_hand {
            println!("not run, {name}: `{first}`: {reason}");
            continue;
        }
        println!("{name}: `{first}`");
        let lines = block.text.lines().map(|line| runs(line, binaries));
        let script = lines.collect::<Vec<_>>().join("\n");
        let script = script.replace(SHOWN_URL, &broker.url());
        // The documents speak of a checkout in the folder beside.
        let place = Place::new(None);
        std::os::unix::fs::symlink(root(), place.path().join("bus")).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", &script]);
        place.prepare(&mut shell);
        let data = TempDir::new().unwrap();
        shell
            .env("CARGO_NET_OFFLINE", "true")
            .env("TMPDIR", data.path());
        let done = finish_within(shell, "", PATIENCE).await;
        if done.code != Some(0) {
            failures.push(format!("{name}: {script}\n{done:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// A document that shows a session is one of those whose sessions are executed.
#[test]
fn every_session_is_executed() {
    let mut all = Vec::new();
    documents(root(), &mut all);
    let executed: Vec<&str> = crate::docs::executed().collect();
    for document in all {
        let text = std::fs::read_to_string(&document).unwrap();
        assert!(
            fenced(&text, "console").is_empty() || executed.contains(&&*text),
            "the sessions of {} are not executed",
            document.display()
        );
    }
}
