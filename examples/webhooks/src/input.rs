//! Reading webhooks: one JSON object a line.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bus::Event;
use serde::{Deserialize, Serialize};

use crate::events::{GitHub, Rest};

/// The payloads that GitHub publishes as examples; `data/NOTICE.md` says where they come from.
const EXAMPLES: &[u8] = include_bytes!("../data/github-webhooks.ndjson");

/// What was read.
pub struct Input {
    /// The webhooks, in the order of their lines.
    pub events: Vec<GitHub>,
    /// The lines that hold none.
    pub skipped: Vec<Skipped>,
}

/// A line that is no webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

#[derive(Deserialize)]
struct Line {
    event: String,
    action: Option<String>,
    payload: Rest,
}

/// Reads `file`, or the examples.
pub fn read(file: Option<&Path>) -> Result<Input> {
    let text = match file {
        None => Cow::Borrowed(EXAMPLES),
        Some(file) => fs::read(file)
            .with_context(|| format!("cannot read {}", file.display()))?
            .into(),
    };
    let input = parse(&text);
    let name = file.map_or(Cow::Borrowed("the input"), Path::to_string_lossy);
    ensure!(
        !input.events.is_empty(),
        "{name} holds no webhook: {}",
        match input.skipped.first() {
            None => "it has no line".to_owned(),
            Some(first) => format!("line {}: {}", first.line, first.reason),
        }
    );
    Ok(input)
}

fn parse(text: &[u8]) -> Input {
    let mut input = Input {
        events: Vec::new(),
        skipped: Vec::new(),
    };
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match webhook(line) {
            Ok(event) => input.events.push(event),
            Err(error) => input.skipped.push(Skipped {
                line: index + 1,
                reason: format!("{error:#}"),
            }),
        }
    }
    input
}

fn webhook(line: &[u8]) -> Result<GitHub> {
    let Line {
        event,
        action,
        payload,
    } = serde_json::from_slice(line).map_err(in_one_line)?;
    let event = GitHub::new(event, action, payload)?;
    event.topic()?; // an event or action that is no token of a topic
    Ok(event)
}

/// The parser counts lines, too; here it always sees the first.
fn in_one_line(error: serde_json::Error) -> anyhow::Error {
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or_default();
    anyhow::anyhow!("column {}: {reason}", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_are_all_read() {
        let input = read(None).unwrap();
        assert_eq!((input.events.len(), input.skipped.len()), (329, 0));
        assert_eq!(
            input
                .events
                .iter()
                .filter(|event| event.repository().is_none())
                .count(),
            49
        );
        let without_action = |event: &&GitHub| event.topic().unwrap().tokens().count() == 2;
        assert_eq!(input.events.iter().filter(without_action).count(), 43);
    }

    #[test]
    fn what_a_struct_does_not_name_is_kept() {
        for line in EXAMPLES
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let payload =
                serde_json::from_slice::<serde_json::Value>(line).unwrap()["payload"].take();
            let kept = match webhook(line).unwrap() {
                GitHub::Push(push) => serde_json::to_value(push).unwrap(),
                GitHub::PullRequest(pull) => serde_json::to_value(pull).unwrap(),
                GitHub::CheckRun(check) => serde_json::to_value(check).unwrap(),
                GitHub::Other(webhook) => webhook.payload.into(),
            };
            assert_eq!(kept, payload);
        }
    }

    #[test]
    fn a_line_that_is_no_webhook_is_skipped_with_its_number() {
        let good = r#"{"event":"ping","payload":{}}"#;
        let no_token = r#"{"event":"pi ng","action":null,"payload":{}}"#;
        let no_push = r#"{"event":"push","action":null,"payload":{"ref":"refs/heads/main"}}"#;
        let input =
            parse(format!("{good}\n{{\"event\"\n\n{no_token}\r\n{no_push}\n{good}").as_bytes());
        assert_eq!(input.events.len(), 2);
        let told: Vec<_> = input
            .skipped
            .iter()
            .map(|skipped| (skipped.line, skipped.reason.as_str()))
            .collect();
        assert_eq!(told[0], (2, "column 8: EOF while parsing an object"));
        assert!(
            told[1].0 == 4 && told[1].1.contains("field `event` is no token"),
            "{told:?}"
        );
        assert_eq!(
            told[2],
            (5, "no payload of a push event: missing field `commits`")
        );
    }
}
