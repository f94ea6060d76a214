//! `bus groups reset`.

use std::process::ExitCode;

use anyhow::Result;
use bus::{BusClient, Start, SubscriptionId, Subscriptions};
use clap::Args;

use super::change::{Change, Verb};
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
        let verb = Verb {
            order: "move",
            done: "moved",
            field: "reset",
        };
        let act = async |subscriptions: &Subscriptions, id: &SubscriptionId| {
            subscriptions.reset(id, &self.to).await
        };
        self.change.each(bus, output, verb, act).await
    }
}
