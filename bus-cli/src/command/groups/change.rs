//! What resetting and removing have in common.

use std::process::ExitCode;

use anyhow::Result;
use bus::{BusClient, SubscriptionId, SubscriptionInfo, Subscriptions};
use clap::Args;
use serde_json::json;

use super::which::Which;
use crate::confirm::confirm;
use crate::output::Output;

/// What is done to a subscription: as the question puts it, as the answer says it, and its field in JSON.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verb {
    pub(super) order: &'static str,
    pub(super) done: &'static str,
    pub(super) field: &'static str,
}

/// Which subscriptions of a group are changed, and how carefully.
#[derive(Args, Debug)]
pub(super) struct Change {
    #[command(flatten)]
    which: Which,
    /// Also while it has live members
    #[arg(long)]
    force: bool,
    /// Only says what would be done
    #[arg(long)]
    dry_run: bool,
    /// Does it without asking
    #[arg(long)]
    yes: bool,
}

impl Change {
    /// Asks whether to do it, does it to each chosen subscription, and says what was done.
    ///
    /// # Errors
    /// There is none, nobody says yes, or the broker refuses.
    pub(super) async fn each(
        &self,
        bus: &BusClient,
        output: &Output,
        verb: Verb,
        act: impl AsyncFn(&Subscriptions, &SubscriptionId) -> bus::Result<()>,
    ) -> Result<ExitCode> {
        let infos = self.which.list(bus).await?;
        if !self.dry_run {
            let what = format!(
                "{} {} subscriptions of {}, with {} unsettled messages",
                verb.order,
                infos.len(),
                self.which.group,
                infos.iter().map(|info| info.lag).sum::<u64>(),
            );
            confirm(&what, self.yes)?;
        }
        let subscriptions = self.subscriptions(bus);
        for SubscriptionInfo { id, .. } in infos {
            if !self.dry_run {
                act(&subscriptions, &id).await?;
            }
            let mut value = json!({"group": id.group.as_str(), "pattern": id.pattern.as_str()});
            value[verb.field] = json!(!self.dry_run);
            let would = if self.dry_run { "would be " } else { "" };
            output.either(&value, &format!("{id} {would}{}", verb.done))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn subscriptions(&self, bus: &BusClient) -> Subscriptions {
        if self.force {
            bus.subscriptions().forced()
        } else {
            bus.subscriptions()
        }
    }
}
