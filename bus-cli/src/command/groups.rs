//! `bus groups`: durable subscriptions.

mod change;
mod list;
mod pause;
mod reset;
mod rm;
mod show;
mod which;

use std::process::ExitCode;

use anyhow::Result;
use bus::{BusClient, SubscriptionInfo};
use clap::Subcommand;
use serde_json::{Value, json};

use crate::output::Output;
use crate::when;

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub(crate) enum Groups {
    List(list::List),
    Show(show::Show),
    Reset(reset::Reset),
    Rm(rm::Rm),
    Pause(pause::Pause),
    Resume(pause::Resume),
}

impl Groups {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        match self {
            Self::List(command) => command.run(bus, output).await,
            Self::Show(command) => command.run(bus, output).await,
            Self::Reset(command) => command.run(bus, output).await,
            Self::Rm(command) => command.run(bus, output).await,
            Self::Pause(command) => command.run(bus, output).await,
            Self::Resume(command) => command.run(bus, output).await,
        }
    }
}

/// Heads of the table of subscriptions.
const HEADS: [&str; 8] = [
    "group", "pattern", "state", "members", "lag", "pending", "oldest", "dropped",
];

/// Unsettled for longer than this is worth a look.
const LONG: std::time::Duration = std::time::Duration::from_secs(300);

/// What an operator thinks of it.
fn state(info: &SubscriptionInfo) -> &'static str {
    let waits_long = info
        .oldest
        .and_then(|oldest| oldest.elapsed().ok())
        .is_some_and(|waited| waited > LONG);
    match (info.members, info.lag) {
        _ if info.paused => "paused",
        (0, 0) => "unused",
        (0, _) => "unattended",
        _ if waits_long => "stalled",
        _ => "active",
    }
}

fn row(info: &SubscriptionInfo) -> Vec<String> {
    let oldest = info.oldest.map_or_else(|| "-".into(), when::ago);
    vec![
        info.id.group.to_string(),
        info.id.pattern.to_string(),
        state(info).into(),
        info.members.to_string(),
        info.lag.to_string(),
        info.pending.to_string(),
        oldest,
        info.dropped.to_string(),
    ]
}

fn value(info: &SubscriptionInfo) -> Value {
    json!({
        "group": info.id.group.as_str(),
        "pattern": info.id.pattern.as_str(),
        "state": state(info),
        "members": info.members,
        "lag": info.lag,
        "pending": info.pending,
        "oldest": info.oldest.map(when::text),
        "dropped": info.dropped,
        "paused": info.paused,
    })
}

/// Writes subscriptions as a table or as lines.
pub(super) fn write(output: &Output, infos: &[SubscriptionInfo]) -> std::io::Result<()> {
    if output.is_json() {
        return infos.iter().try_for_each(|info| output.json(&value(info)));
    }
    let rows: Vec<_> = infos.iter().map(row).collect();
    output.table(&HEADS, &rows)
}
