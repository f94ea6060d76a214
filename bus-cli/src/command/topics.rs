//! `bus topics`.

use std::process::ExitCode;

use anyhow::Result;
use bus::{BusClient, Pattern, Topic};
use clap::Subcommand;
use serde_json::json;

use crate::output::Output;

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub(crate) enum Topics {
    /// The topics that the namespace knows
    List {
        /// Only those that match
        pattern: Option<Pattern>,
    },
    /// Makes a topic known before its first message, such as the log of a foreign producer; publishing
    /// needs no such call
    Add {
        /// The topic
        topic: Topic,
    },
}

impl Topics {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        match self {
            Self::List { pattern } => list(bus, pattern.as_ref(), output).await?,
            Self::Add { topic } => {
                bus.add_topic(&topic).await?;
                output.either(
                    &json!({"topic": topic.as_str()}),
                    &format!("{topic} is known"),
                )?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(bus: &BusClient, pattern: Option<&Pattern>, output: &Output) -> Result<()> {
    let mut topics = bus.topics().await?;
    topics.retain(|info| pattern.is_none_or(|pattern| pattern.matches(&info.topic)));
    if output.is_json() {
        for info in topics {
            output.json(&json!({"topic": info.topic.as_str(), "messages": info.messages}))?;
        }
        return Ok(());
    }
    let row = |info: &bus::TopicInfo| {
        let messages = info.messages.map_or_else(|| "-".into(), |n| n.to_string());
        vec![info.topic.to_string(), messages]
    };
    let rows: Vec<_> = topics.iter().map(row).collect();
    output.table(&["topic", "messages"], &rows)?;
    Ok(())
}
