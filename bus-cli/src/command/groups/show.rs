//! `bus groups show`.

use std::process::ExitCode;

use anyhow::Result;
use bus::{BusClient, Filter, Group};
use clap::Args;

use super::which::of_group;
use super::write;
use crate::output::Output;

/// Shows the subscriptions of one group, and how many dead letters it has
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// The group
    group: Group,
}

impl Show {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        let infos = of_group(bus, &self.group, None).await?;
        let dead = bus
            .dead_letters(&self.group)
            .count(&Filter::default())
            .await?;
        write(output, &infos)?;
        let value = serde_json::json!({"group": self.group.as_str(), "dead_letters": dead});
        output.either(&value, &format!("\ndead letters: {dead}"))?;
        Ok(ExitCode::SUCCESS)
    }
}
