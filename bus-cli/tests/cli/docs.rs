//! The commands of docs/cli.md and of the guide do what it says there.

use tokio::process::Command;

use crate::Scene;
use crate::common::finish;

const DOCUMENT: &str = include_str!("../../../docs/cli.md");

/// What else shows commands, each with a bus of its own.
const OTHERS: &[(&str, &str)] = &[
    (
        "guide/01",
        include_str!("../../../docs/guide/01-first-message.md"),
    ),
    (
        "guide/02",
        include_str!("../../../docs/guide/02-groups-and-workers.md"),
    ),
    (
        "guide/03",
        include_str!("../../../docs/guide/03-failures-and-dead-letters.md"),
    ),
    (
        "guide/04",
        include_str!("../../../docs/guide/04-request-and-reply.md"),
    ),
    (
        "guide/07",
        include_str!("../../../docs/guide/07-configuration.md"),
    ),
    (
        "guide/08",
        include_str!("../../../docs/guide/08-operations.md"),
    ),
    (
        "troubleshooting",
        include_str!("../../../docs/troubleshooting.md"),
    ),
    ("migration", include_str!("../../../docs/migration.md")),
];

/// The documents whose commands are executed.
pub(crate) fn executed() -> impl Iterator<Item = &'static str> {
    std::iter::once(DOCUMENT).chain(OTHERS.iter().map(|(_, document)| *document))
}

/// A command of the document with the lines that it shows.
struct Shown {
    command: String,
    lines: Vec<String>,
}

/// The commands of all `console` blocks, in order: lines with `$`, and what follows them.
fn shown(document: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        match (inside, line.trim_end()) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => match line.strip_prefix("$ ") {
                Some(command) => all.push(Shown {
                    command: command.to_owned(),
                    lines: Vec::new(),
                }),
                None => all.last_mut().unwrap().lines.push(line.to_owned()),
            },
            (false, _) => {}
        }
    }
    all
}

/// Whether a line looks as shown, where `…` stands for anything.
fn fits(line: &str, shown: &str) -> bool {
    let mut rest = line;
    let parts: Vec<&str> = shown.split('…').collect();
    for (index, part) in parts.iter().enumerate() {
        match rest.find(part) {
            Some(at) if index > 0 || at == 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    rest.trim().is_empty() || parts.last() == Some(&"")
}

#[tokio::test]
async fn every_command_of_the_document_does_what_it_shows() {
    try_all("cli", DOCUMENT).await;
}

#[tokio::test]
async fn every_command_of_the_guide_does_what_it_shows() {
    for (name, document) in OTHERS {
        try_all(name, document).await;
    }
}

async fn try_all(name: &str, document: &str) {
    let scene = Scene::new().await;
    let binaries = std::path::Path::new(env!("CARGO_BIN_EXE_bus"))
        .parent()
        .unwrap();
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
    for Shown { command, lines } in shown(document) {
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]);
        scene.place.prepare(&mut shell);
        shell.env("PATH", &path);
        let done = finish(shell, "").await;
        let (command, expected) = match command.split_once("# exits with ") {
            Some((command, code)) => (command, code.trim().parse().unwrap()),
            None => (&*command, 0),
        };
        assert_eq!(done.code, Some(expected), "{name}: {command}: {done:?}");
        let mut written = done.out.lines().chain(done.err.lines());
        for line in lines {
            assert!(
                written.any(|written| fits(written.trim_end(), line.trim_end())),
                "{name}: {command}: no line (any more) like {line:?} in {done:?}"
            );
        }
    }
}

/// Every command has a place in the document.
#[tokio::test]
async fn no_command_is_missing() {
    let place = crate::common::Place::new(None);
    let commands = [&[][..], &["dlq"], &["topics"], &["groups"]];
    for parents in commands {
        let help = place.ok(&[parents, &["--help"]].concat()).await;
        let listed = help
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| !line.is_empty())
            // What is indented more goes on with a description.
            .filter_map(|line| {
                line.strip_prefix("  ")
                    .filter(|line| !line.starts_with(' '))
            })
            .filter_map(|line| line.split_whitespace().next());
        for name in listed.filter(|name| *name != "help") {
            let command = [&["bus"], parents, &[name]].concat().join(" ");
            assert!(
                DOCUMENT.contains(&command),
                "{command} is not in docs/cli.md"
            );
        }
    }
}
