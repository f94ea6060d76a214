//! `bus dlq list`.

use std::process::ExitCode;

use anyhow::Result;
use bus::{BusClient, DeadEntry, Filter};
use clap::Args;
use serde_json::json;

use crate::filter::Selection;
use crate::output::Output;
use crate::when;

/// Lists the groups that have dead letters, or the dead letters of a group
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bus dlq list\n  bus dlq list mail --error-contains 550 --since 1h"
)]
pub(crate) struct List {
    /// The group
    group: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

impl List {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        match &self.group {
            None => groups(bus, &self.selection.filter(), output).await?,
            Some(group) => self.entries(bus, group, output).await?,
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn entries(&self, bus: &BusClient, group: &str, output: &Output) -> Result<()> {
        let (dead, filter) = (bus.dead_letters(group), self.selection.filter());
        let (mut entries, mut cursor) = (Vec::new(), None);
        loop {
            let room = self.limit - entries.len();
            let page = dead.page(&filter, cursor.as_ref(), room).await?;
            entries.extend(page.entries);
            cursor = page.next;
            if cursor.is_none() || entries.len() >= self.limit {
                break;
            }
        }
        if output.is_json() {
            for entry in &entries {
                output.json(&entry.export())?;
            }
            return Ok(());
        }
        let heads = ["id", "topic", "type", "attempts", "failed", "error"];
        let rows: Vec<_> = entries.iter().map(row).collect();
        output.table(&heads, &rows)?;
        if cursor.is_some() {
            output.note(&format!("the first {}; see --limit", self.limit));
        }
        Ok(())
    }
}

fn row(entry: &DeadEntry) -> Vec<String> {
    /// More does not fit beside the rest.
    const ERROR: usize = 100;
    let error: String = entry.error.to_string().escape_debug().take(ERROR).collect();
    vec![
        entry.id.to_string(),
        entry.message.topic.to_string(),
        entry
            .message
            .metadata
            .event_type
            .as_deref()
            .unwrap_or("-")
            .to_owned(),
        entry.attempts.to_string(),
        format!("{} ago", when::ago(entry.last_failure)),
        error,
    ]
}

async fn groups(bus: &BusClient, filter: &Filter, output: &Output) -> Result<()> {
    let mut rows = Vec::new();
    for group in bus.dead_letter_groups().await? {
        let count = bus.dead_letters(&group).count(filter).await?;
        if output.is_json() {
            output.json(&json!({"group": group.as_str(), "dead_letters": count}))?;
        }
        rows.push(vec![group.to_string(), count.to_string()]);
    }
    if !output.is_json() {
        output.table(&["group", "dead letters"], &rows)?;
    }
    Ok(())
}
