//! Durable subscriptions: listed, moved, paused, deleted.

use std::sync::Arc;

use super::core::Core;
use crate::contract::{Start, SubscriptionId, SubscriptionInfo};
use crate::error::{Error, ErrorKind, Result};

/// The durable subscriptions of a namespace; made by
/// [`BusClient::subscriptions`](crate::BusClient::subscriptions).
///
/// A durable subscription is a group with a pattern; it outlives its members and keeps its position. It
/// is moved or deleted only here, and only without live members unless [`forced`](Self::forced).
///
/// ```no_run
/// # use bus_api::{Group, Pattern, Start, SubscriptionId};
/// # async fn example(bus: bus_api::BusClient) -> bus_api::Result<()> {
/// for subscription in bus.subscriptions().list().await? {
///     println!("{}: {} behind", subscription.id, subscription.lag);
/// }
/// let mail = SubscriptionId::new(Group::new("mail")?, Pattern::new("orders.>")?);
/// bus.subscriptions().reset(&mail, &Start::Earliest).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Subscriptions {
    core: Arc<Core>,
    force: bool,
}

impl Subscriptions {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, force: false }
    }

    /// Also moves and deletes under live members: after a reset they go on from the new start, after a
    /// deletion they end with `NotFound`.
    #[must_use]
    pub fn forced(self) -> Self {
        Self {
            force: true,
            ..self
        }
    }

    /// All of them, in order of group and pattern.
    ///
    /// # Errors
    /// What the broker says; `Closed`.
    pub async fn list(&self) -> Result<Vec<SubscriptionInfo>> {
        self.core.check_open()?;
        self.core.bus.admin().subscriptions().await
    }

    /// One of them.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn get(&self, id: &SubscriptionId) -> Result<SubscriptionInfo> {
        let found = self.list().await?.into_iter().find(|info| info.id == *id);
        found.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "there is no such durable subscription")
                .transport(self.core.transport())
                .with("group", &id.group)
                .with("pattern", &id.pattern)
        })
    }

    /// Moves one to `start`; records and delays of what it had not settled are gone.
    ///
    /// # Errors
    /// `NotFound` when there is none; `InvalidArgument` when it has live members and this is not
    /// [`forced`](Self::forced).
    pub async fn reset(&self, id: &SubscriptionId, start: &Start) -> Result<()> {
        self.core.check_open()?;
        self.core.bus.admin().reset(id, start, self.force).await
    }

    /// Deletes one; its dead letters stay.
    ///
    /// # Errors
    /// As [`reset`](Self::reset).
    pub async fn delete(&self, id: &SubscriptionId) -> Result<()> {
        self.core.check_open()?;
        self.core.bus.admin().delete(id, self.force).await
    }

    /// Pauses one: within 2 s its members, live or joining later, in any process, are handed nothing more.
    /// What handlers have is finished and settled; nothing is lost and no attempt is counted. It stays paused,
    /// also over restarts, until it is [resumed](Self::resume) or deleted. Pausing twice is fine.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn pause(&self, id: &SubscriptionId) -> Result<()> {
        self.core.check_open()?;
        self.core.bus.admin().pause(id).await
    }

    /// Lets a paused one go on, within 2 s. One that is not paused is left as it is.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn resume(&self, id: &SubscriptionId) -> Result<()> {
        self.core.check_open()?;
        self.core.bus.admin().resume(id).await
    }
}
