//! `bus groups reset`.

use std::process::ExitCode;

use anyhow::Result;
use bus::{BusClient, Start};
use clap::Args;
use serde_json::json;

use super::change::Change;
use crate::confirm::confirm;
use crate::output::Output;
use crate::when;

/// Moves a group to another place: back, to see messages again, or forward, to skip them
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bus groups reset mail --to 1h --dry-run\n  bus groups reset mail --to latest --yes"
)]
pub(crate) struct Reset {
    #[command(flatten)]
    change: Change,
    /// earliest, latest, a position, a time, or how long ago, such as 1h
    #[arg(long, value_name = "START", value_parser = when::start)]
    to: Start,
}

impl Reset {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        let Self { change, to } = self;
        let infos = change.chosen(bus).await?;
        if !change.dry_run {
            let what = format!(
                "move {} subscriptions of {}, with {} unsettled messages",
                infos.len(),
                change.group,
                infos.iter().map(|info| info.lag).sum::<u64>(),
            );
            confirm(&what, change.yes)?;
        }
        for info in infos {
            if !change.dry_run {
                change.subscriptions(bus).reset(&info.id, &to).await?;
            }
            let value = json!({
                "group": info.id.group.as_str(),
                "pattern": info.id.pattern.as_str(),
                "reset": !change.dry_run,
            });
            let word = if change.dry_run {
                "would be moved"
            } else {
                "moved"
            };
            output.either(&value, &format!("{} {word}", info.id))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
