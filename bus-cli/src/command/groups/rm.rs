//! `bus groups rm`.

use std::process::ExitCode;

use anyhow::Result;
use bus::{BusClient, SubscriptionId, Subscriptions};
use clap::Args;

use super::change::{Change, Verb};
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
        let verb = Verb {
            order: "remove",
            done: "removed",
            field: "removed",
        };
        let act = async |subscriptions: &Subscriptions, id: &SubscriptionId| {
            subscriptions.delete(id).await
        };
        self.change.each(bus, output, verb, act).await
    }
}
