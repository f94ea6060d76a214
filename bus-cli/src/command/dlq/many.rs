//! What redriving and purging have in common: many dead letters at once, slowly if wanted, with a way out.

use std::process::ExitCode;

use anyhow::{Result, bail};
use bus::{BusClient, DeadLetterReport, DeadLetters, Filter};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use crate::exit;
use crate::filter::Selection;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress;

/// Which dead letters of a group, and how.
#[derive(Args, Debug)]
pub(super) struct Many {
    /// The group
    pub(super) group: String,
    #[command(flatten)]
    selection: Selection,
    /// Every dead letter of the group
    #[arg(long)]
    all: bool,
    /// At most so many a second
    #[arg(long, value_name = "N")]
    pub(super) rate: Option<u32>,
    /// Only counts
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// What was chosen.
pub(super) struct Chosen {
    pub(super) dead: DeadLetters,
    pub(super) filter: Filter,
    pub(super) total: u64,
}

impl Many {
    /// # Errors
    /// Neither a filter nor `--all` was said: a forgotten filter must not become "all". What the broker says.
    pub(super) async fn chosen(&self, bus: &BusClient) -> Result<Chosen> {
        if self.selection.is_all() && !self.all {
            bail!(
                "say which dead letters, such as --topic or --id, or --all for every one of the group"
            );
        }
        let (dead, filter) = (bus.dead_letters(&self.group), self.selection.filter());
        let total = dead.count(&filter).await?;
        Ok(Chosen {
            dead,
            filter,
            total,
        })
    }

    /// Does it, shows how far it is, and says what was done; Ctrl-C ends it.
    pub(super) async fn see_through<W>(
        &self,
        output: &Output,
        done: &'static str,
        total: u64,
        begin: impl FnOnce(ProgressBar) -> W,
    ) -> Result<ExitCode>
    where
        W: IntoFuture<Output = bus::Result<DeadLetterReport>>,
    {
        let mut interrupt = Interrupt::listen()?;
        let bar = progress::start(output, done, Some(total));
        let work = begin(bar.clone()).into_future();
        let report = tokio::select! {
            report = work => report?,
            () = interrupt.wanted() => {
                output.note(&format!("interrupted; what was {done} stays so"));
                return Ok(ExitCode::from(exit::INTERRUPTED));
            }
        };
        bar.finish_and_clear();
        self.say(output, done, &report)
    }

    fn say(&self, output: &Output, done: &str, report: &DeadLetterReport) -> Result<ExitCode> {
        let counts = report.counts();
        let failures: Vec<_> = report
            .failed
            .iter()
            .map(|(id, error)| json!({"id": id.to_string(), "error": error.to_string()}))
            .collect();
        let value = json!({
            "matched": counts.matched,
            done: counts.done,
            "failed": failures,
            "dry_run": self.dry_run,
        });
        let text = if self.dry_run {
            format!("{} would be {done}", counts.matched)
        } else {
            format!("{} of {} {done}", counts.done, counts.matched)
        };
        output.either(&value, &text)?;
        for (id, error) in &report.failed {
            output.note(&format!("{id}: {error}"));
        }
        Ok(if report.failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(exit::FAILED)
        })
    }
}
