//! What resetting and removing have in common.

use bus::{BusClient, Error, ErrorKind, Group, Pattern, SubscriptionInfo, Subscriptions};
use clap::Args;

/// Which subscriptions of a group are changed, and how carefully.
#[derive(Args, Debug)]
pub(super) struct Change {
    /// The group
    pub(super) group: Group,
    /// Only the subscription of this pattern
    #[arg(long)]
    pub(super) pattern: Option<Pattern>,
    /// Also while it has live members
    #[arg(long)]
    force: bool,
    /// Only says what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Does it without asking
    #[arg(long)]
    pub(super) yes: bool,
}

impl Change {
    pub(super) async fn chosen(&self, bus: &BusClient) -> bus::Result<Vec<SubscriptionInfo>> {
        of_group(bus, &self.group, self.pattern.as_ref()).await
    }

    pub(super) fn subscriptions(&self, bus: &BusClient) -> Subscriptions {
        if self.force {
            bus.subscriptions().forced()
        } else {
            bus.subscriptions()
        }
    }
}

/// The subscriptions of a group.
///
/// # Errors
/// `NotFound` when there is none.
pub(super) async fn of_group(
    bus: &BusClient,
    group: &Group,
    pattern: Option<&Pattern>,
) -> bus::Result<Vec<SubscriptionInfo>> {
    let mut infos = bus.subscriptions().list().await?;
    infos.retain(|info| {
        info.id.group == *group && pattern.is_none_or(|pattern| info.id.pattern == *pattern)
    });
    if infos.is_empty() {
        let text = "there is no such group; `bus groups list` shows those that there are";
        let error = Error::new(ErrorKind::NotFound, text).with("group", group);
        return Err(match pattern {
            Some(pattern) => error.with("pattern", pattern),
            None => error,
        });
    }
    Ok(infos)
}
