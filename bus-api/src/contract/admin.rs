//! Operating a transport: topics, subscriptions, health.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::contract::subscription::{Start, SubscriptionId};
use crate::contract::topic::Topic;
use crate::error::Result;

/// What operators ask of an adapter.
#[async_trait]
pub trait Admin: Send + Sync {
    /// The topics that the namespace knows, in order of their names.
    async fn topics(&self) -> Result<Vec<TopicInfo>>;

    /// Makes a topic known before its first message, such as a foreign producer's log (P6). Idempotent.
    async fn add_topic(&self, topic: &Topic) -> Result<()>;

    /// The durable subscriptions, in order of group and pattern.
    async fn subscriptions(&self) -> Result<Vec<SubscriptionInfo>>;

    /// Moves a durable subscription to `start`; records and delays of what it had not settled are gone.
    ///
    /// # Errors
    /// `NotFound` when there is none; `InvalidArgument` when it has live members and `force` is not
    /// set. With `force` its members go on from the new start.
    async fn reset(&self, subscription: &SubscriptionId, start: &Start, force: bool) -> Result<()>;

    /// Deletes a durable subscription; its dead letters stay. Its members, if any, end with `NotFound`.
    ///
    /// # Errors
    /// As [`reset`](Self::reset).
    async fn delete(&self, subscription: &SubscriptionId, force: bool) -> Result<()>;

    /// Pauses a durable subscription: within 2 s its members, live or joining later, in any process, are handed
    /// nothing. What they have is settled as ever. It outlives members, restarts and resets; a deletion ends it.
    /// Idempotent.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    async fn pause(&self, subscription: &SubscriptionId) -> Result<()>;

    /// Lets a paused subscription go on, within 2 s. Idempotent.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    async fn resume(&self, subscription: &SubscriptionId) -> Result<()>;

    /// Checks the transport and says what was verified.
    async fn health(&self) -> Health;
}

/// A known topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// The topic.
    pub topic: Topic,
    /// Messages stored, when the broker can say.
    pub messages: Option<u64>,
}

/// A durable subscription as the broker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionInfo {
    /// Group and pattern.
    pub id: SubscriptionId,
    /// Live members.
    pub members: u64,
    /// Messages not yet settled, handed over or not.
    pub lag: u64,
    /// Of these, handed over and unsettled, delayed ones included.
    pub pending: u64,
    /// When the oldest unsettled message was stored.
    pub oldest: Option<SystemTime>,
    /// Messages that retention dropped before they were settled.
    pub dropped: u64,
    /// An operator has paused it.
    pub paused: bool,
}

/// How well the transport is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthStatus {
    /// Everything that was checked works.
    Up,
    /// It works, with a limitation that the details name.
    Degraded,
    /// It does not work.
    Down,
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        })
    }
}

/// What `health()` verified.
#[derive(Clone, Debug)]
pub struct Health {
    /// The sum.
    pub status: HealthStatus,
    /// The broker answers.
    pub connected: bool,
    /// The broker would take a message.
    pub writable: bool,
    /// What is wrong, one sentence each; empty when `status` is `Up`.
    pub problems: Vec<String>,
    /// What the broker's settings do not protect, one sentence each.
    pub unprotected: Vec<String>,
    /// What happened since the connection was made, such as a lost log (L4), newest last, bounded.
    pub notices: Vec<String>,
    /// The durable subscriptions with their lag.
    pub subscriptions: Vec<SubscriptionInfo>,
    /// Facts such as the server's name and version.
    pub details: BTreeMap<&'static str, String>,
}

impl Health {
    /// Sums up: down when no message would be taken, degraded when something is wrong.
    pub fn judge(&mut self) {
        self.status = if !self.writable {
            HealthStatus::Down
        } else if self.problems.is_empty() {
            HealthStatus::Up
        } else {
            HealthStatus::Degraded
        };
    }
}
