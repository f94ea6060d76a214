//! `bus groups pause` and `bus groups resume`.

use std::process::ExitCode;

use anyhow::Result;
use bus::BusClient;
use clap::Args;
use serde_json::json;

use super::which::Which;
use crate::output::Output;

/// Pauses a group: within 2 s its members, wherever they run, are handed nothing more
///
/// What handlers have is finished. Messages wait, within the retention. The pause outlives restarts of the members and
/// of the broker, until `bus groups resume`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bus groups pause mail\n  bus groups pause mail --pattern 'orders.>'"
)]
pub(crate) struct Pause {
    #[command(flatten)]
    which: Which,
}

/// Lets a paused group go on
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bus groups resume mail")]
pub(crate) struct Resume {
    #[command(flatten)]
    which: Which,
}

impl Pause {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        set_paused(&self.which, bus, output, true).await
    }
}

impl Resume {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        set_paused(&self.which, bus, output, false).await
    }
}

async fn set_paused(
    which: &Which,
    bus: &BusClient,
    output: &Output,
    paused: bool,
) -> Result<ExitCode> {
    let subscriptions = bus.subscriptions();
    for info in which.list(bus).await? {
        let word = if paused {
            subscriptions.pause(&info.id).await?;
            "paused"
        } else {
            subscriptions.resume(&info.id).await?;
            "resumed"
        };
        let value = json!({
            "group": info.id.group.as_str(),
            "pattern": info.id.pattern.as_str(),
            "paused": paused,
        });
        output.either(&value, &format!("{} {word}", info.id))?;
    }
    Ok(ExitCode::SUCCESS)
}
