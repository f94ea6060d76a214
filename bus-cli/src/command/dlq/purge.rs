//! `bus dlq purge`.

use std::process::ExitCode;

use anyhow::Result;
use bus::BusClient;
use clap::Args;

use super::many::Many;
use crate::confirm::confirm;
use crate::output::Output;

/// Removes dead letters for good
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bus dlq purge mail --until 30d --yes")]
pub(crate) struct Purge {
    #[command(flatten)]
    many: Many,
    /// Does it without asking
    #[arg(long)]
    yes: bool,
}

impl Purge {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        let Self { many, yes } = self;
        let chosen = many.chosen(bus).await?;
        let total = chosen.total;
        if !many.dry_run && total > 0 {
            let what = format!("remove {total} dead letters of {} for good", many.group);
            confirm(&what, yes)?;
        }
        many.see_through(output, "purged", total, |bar| {
            let mut purge = chosen
                .dead
                .purge(&chosen.filter)
                .on_progress(move |counts| bar.set_position(counts.done));
            if many.dry_run {
                purge = purge.dry_run();
            }
            match many.rate {
                Some(rate) => purge.rate(rate),
                None => purge,
            }
        })
        .await
    }
}
