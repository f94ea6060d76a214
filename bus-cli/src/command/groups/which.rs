//! Which subscriptions a command is about.

use bus::{BusClient, Error, ErrorKind, Group, Pattern, SubscriptionInfo};
use clap::Args;

/// The subscriptions of a group, or one of them.
#[derive(Args, Debug)]
pub(super) struct Which {
    /// The group
    pub(super) group: Group,
    /// Only the subscription of this pattern
    #[arg(long)]
    pattern: Option<Pattern>,
}

impl Which {
    /// The subscriptions.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub(super) async fn list(&self, bus: &BusClient) -> bus::Result<Vec<SubscriptionInfo>> {
        of_group(bus, &self.group, self.pattern.as_ref()).await
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
