//! `bus dlq`: dead letters.

mod edit;
mod export;
mod list;
mod purge;
mod redrive;
mod show;

use std::process::ExitCode;

use anyhow::{Result, bail};
use bus::{BusClient, DeadLetterReport};
use clap::Subcommand;
use serde_json::json;

use crate::exit::FAILED;
use crate::filter::Selection;
use crate::output::Output;

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    List(list::List),
    Show(show::Show),
    Export(export::Export),
    Edit(edit::Edit),
    Redrive(redrive::Redrive),
    Purge(purge::Purge),
}

impl Dlq {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        match self {
            Self::List(command) => command.run(bus, output).await,
            Self::Show(command) => command.run(bus, output).await,
            Self::Export(command) => command.run(bus, output).await,
            Self::Edit(command) => command.run(bus, output).await,
            Self::Redrive(command) => command.run(bus, output).await,
            Self::Purge(command) => command.run(bus, output).await,
        }
    }
}

/// A forgotten filter must not become "all".
///
/// # Errors
/// Neither a filter nor --all was said.
fn check_all(selection: &Selection, all: bool) -> Result<()> {
    if selection.is_all() && !all {
        bail!(
            "say which dead letters, such as --topic or --id, or --all for every one of the group"
        );
    }
    Ok(())
}

/// The result of a redrive or a purge.
fn report(
    output: &Output,
    verb: &str,
    report: &DeadLetterReport,
    dry_run: bool,
) -> Result<ExitCode> {
    let counts = report.counts();
    let failures: Vec<_> = report
        .failed
        .iter()
        .map(|(id, error)| json!({"id": id.to_string(), "error": error.to_string()}))
        .collect();
    let value = json!({
        "matched": counts.matched,
        verb: counts.done,
        "failed": failures,
        "dry_run": dry_run,
    });
    let text = if dry_run {
        format!("{} would be {verb}", counts.matched)
    } else {
        format!("{} of {} {verb}", counts.done, counts.matched)
    };
    output.either(&value, &text)?;
    for (id, error) in &report.failed {
        output.note(&format!("{id}: {error}"));
    }
    Ok(if report.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}
