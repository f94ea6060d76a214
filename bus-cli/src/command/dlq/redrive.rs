//! `bus dlq redrive`.

use std::process::ExitCode;

use anyhow::Result;
use bus::BusClient;
use clap::Args;

use super::{check_all, report};
use crate::exit;
use crate::filter::Selection;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress;

/// Sends dead letters back to the subscription that gave them up
///
/// Only that subscription gets the copy; its attempts start anew. The entry is removed once the broker has
/// the copy.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bus dlq redrive mail --error-contains 550 --rate 50\n  bus dlq redrive mail --all --dry-run"
)]
pub(crate) struct Redrive {
    /// The group
    group: String,
    #[command(flatten)]
    selection: Selection,
    /// Every dead letter of the group
    #[arg(long)]
    all: bool,
    /// At most so many, the oldest first
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// At most so many a second
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Only counts
    #[arg(long)]
    dry_run: bool,
}

impl Redrive {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        check_all(&self.selection, self.all)?;
        let mut interrupt = Interrupt::listen()?;
        let (dead, filter) = (bus.dead_letters(&self.group), self.selection.filter());
        let total = dead.count(&filter).await?;
        let bar = progress::start(output, "redriven", Some(total));
        let shown = bar.clone();
        let mut redrive = dead
            .redrive(&filter)
            .on_progress(move |counts| shown.set_position(counts.done));
        if self.dry_run {
            redrive = redrive.dry_run();
        }
        if let Some(limit) = self.limit {
            redrive = redrive.limit(limit);
        }
        if let Some(rate) = self.rate {
            redrive = redrive.rate(rate);
        }
        let outcome = tokio::select! {
            outcome = redrive => outcome?,
            () = interrupt.wanted() => {
                output.note("interrupted; what was redriven stays so");
                return Ok(ExitCode::from(exit::INTERRUPTED));
            }
        };
        bar.finish_and_clear();
        report(output, "redriven", &outcome, self.dry_run)
    }
}
