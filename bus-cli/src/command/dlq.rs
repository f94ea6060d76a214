//! `bus dlq`: dead letters.

mod edit;
mod export;
mod list;
mod many;
mod purge;
mod redrive;
mod show;

use std::process::ExitCode;

use anyhow::Result;
use bus::BusClient;
use clap::Subcommand;

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
