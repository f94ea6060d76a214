//! `bus dlq purge`.

use std::process::ExitCode;

use anyhow::Result;
use bus::BusClient;
use clap::Args;

use super::{check_all, report};
use crate::confirm::confirm;
use crate::exit;
use crate::filter::Selection;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress;

/// Removes dead letters for good
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bus dlq purge mail --until 30d --yes")]
pub(crate) struct Purge {
    /// The group
    group: String,
    #[command(flatten)]
    selection: Selection,
    /// Every dead letter of the group
    #[arg(long)]
    all: bool,
    /// At most so many a second
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
    /// Only counts
    #[arg(long)]
    dry_run: bool,
    /// Does it without asking
    #[arg(long)]
    yes: bool,
}

impl Purge {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        check_all(&self.selection, self.all)?;
        let (dead, filter) = (bus.dead_letters(&self.group), self.selection.filter());
        let total = dead.count(&filter).await?;
        if !self.dry_run && total > 0 {
            let what = format!("remove {total} dead letters of {} for good", self.group);
            confirm(&what, self.yes)?;
        }
        let mut interrupt = Interrupt::listen()?;
        let bar = progress::start(output, "purged", Some(total));
        let shown = bar.clone();
        let mut purge = dead
            .purge(&filter)
            .on_progress(move |counts| shown.set_position(counts.done));
        if self.dry_run {
            purge = purge.dry_run();
        }
        if let Some(rate) = self.rate {
            purge = purge.rate(rate);
        }
        let outcome = tokio::select! {
            outcome = purge => outcome?,
            () = interrupt.wanted() => {
                output.note("interrupted; what was purged stays so");
                return Ok(ExitCode::from(exit::INTERRUPTED));
            }
        };
        bar.finish_and_clear();
        report(output, "purged", &outcome, self.dry_run)
    }
}
