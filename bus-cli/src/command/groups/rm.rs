//! `bus groups rm`.

use std::process::ExitCode;

use anyhow::Result;
use bus::BusClient;
use clap::Args;
use serde_json::json;

use super::change::Change;
use crate::confirm::confirm;
use crate::output::Output;

/// Removes a group, or one of its patterns; its dead letters stay
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bus groups rm mail --pattern 'old.>' --yes")]
pub(crate) struct Rm {
    #[command(flatten)]
    change: Change,
}

impl Rm {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        let change = self.change;
        let infos = change.chosen(bus).await?;
        if !change.dry_run {
            let what = format!(
                "remove {} subscriptions of {}, with {} unsettled messages",
                infos.len(),
                change.group,
                infos.iter().map(|info| info.lag).sum::<u64>(),
            );
            confirm(&what, change.yes)?;
        }
        for info in infos {
            if !change.dry_run {
                change.subscriptions(bus).delete(&info.id).await?;
            }
            let value = json!({
                "group": info.id.group.as_str(),
                "pattern": info.id.pattern.as_str(),
                "removed": !change.dry_run,
            });
            let word = if change.dry_run {
                "would be removed"
            } else {
                "removed"
            };
            output.either(&value, &format!("{} {word}", info.id))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
