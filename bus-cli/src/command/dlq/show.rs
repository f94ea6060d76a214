//! `bus dlq show`.

use std::process::ExitCode;

use anyhow::Result;
use bus::{BusClient, DeadEntry, DeadLetterId, DeadLetters, Error, ErrorKind};
use clap::Args;

use crate::output::Output;
use crate::{show, when};

/// Shows one dead letter with its payload
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// The group
    group: String,
    /// The id, as `bus dlq list` shows it
    id: DeadLetterId,
}

impl Show {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        let entry = existing(&bus.dead_letters(&self.group), self.id).await?;
        if output.is_json() {
            output.json(&entry.export())?;
        } else {
            for (name, value) in facts(&entry) {
                output.line(&format!("{name:>14}  {}", value.escape_debug()))?;
            }
            output.line("")?;
            output.line(&show::body(&entry.message.payload))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// # Errors
/// `NotFound`.
pub(super) async fn existing(dead: &DeadLetters, id: DeadLetterId) -> bus::Result<DeadEntry> {
    dead.get(id).await?.ok_or_else(|| {
        let text = "the group has no such dead letter; `bus dlq list` shows those that there are";
        Error::new(ErrorKind::NotFound, text).with("id", id)
    })
}

fn facts(entry: &DeadEntry) -> Vec<(&'static str, String)> {
    let metadata = &entry.message.metadata;
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let mut facts = vec![
        ("id", entry.id.to_string()),
        ("group", entry.subscription.group.to_string()),
        ("pattern", entry.subscription.pattern.to_string()),
        ("topic", entry.message.topic.to_string()),
        ("position", entry.origin.position.to_string()),
        ("attempts", entry.attempts.to_string()),
        ("redriven", entry.generation.to_string()),
        ("error", entry.error.to_string()),
        ("first failure", when::text(entry.first_failure)),
        ("last failure", when::text(entry.last_failure)),
        ("message id", metadata.id.to_string()),
        ("type", or_dash(metadata.event_type.as_deref())),
        ("content type", or_dash(metadata.content_type.as_deref())),
        ("source", metadata.source.to_string()),
    ];
    if let Some(key) = &entry.message.key {
        facts.push(("key", String::from_utf8_lossy(key).into_owned()));
    }
    for (name, value) in entry.message.headers.iter() {
        facts.push(("header", format!("{name}={value}")));
    }
    facts
}
