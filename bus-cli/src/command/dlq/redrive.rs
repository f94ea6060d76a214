//! `bus dlq redrive`.

use std::process::ExitCode;

use anyhow::Result;
use bus::BusClient;
use clap::Args;

use super::many::Many;
use crate::output::Output;

/// Sends dead letters back to the subscription that gave them up
///
/// Only that subscription gets the copy; its attempts start anew. The entry is removed once the broker has
/// the copy.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bus dlq redrive mail --error-contains 550 --rate 50\n  bus dlq redrive mail --all --dry-run"
)]
pub(crate) struct Redrive {
    #[command(flatten)]
    many: Many,
    /// At most so many, the oldest first
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

impl Redrive {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        let Self { many, limit } = self;
        let chosen = many.chosen(bus).await?;
        many.see_through(output, "redriven", chosen.total, |bar| {
            let mut redrive = chosen
                .dead
                .redrive(&chosen.filter)
                .on_progress(move |counts| bar.set_position(counts.done));
            if many.dry_run {
                redrive = redrive.dry_run();
            }
            if let Some(limit) = limit {
                redrive = redrive.limit(limit);
            }
            match many.rate {
                Some(rate) => redrive.rate(rate),
                None => redrive,
            }
        })
        .await
    }
}
