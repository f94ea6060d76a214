//! How a worker behaves, apart from its handlers.

use std::time::Duration;

use crate::contract::{Order, Start, SubscriptionSpec};
use crate::member::{MemberOptions, OnExpired};
use crate::worker::breaker::Breaker;
use crate::worker::retry::Retry;

/// What becomes of a message of a type that no handler of the worker takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unknown {
    /// It is settled, counted, and logged once per type.
    #[default]
    Skip,
    /// It is dead-lettered.
    DeadLetter,
}

/// What becomes of a message that expired before a handler saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Expired {
    /// It is settled and counted.
    #[default]
    Drop,
    /// It is dead-lettered.
    DeadLetter,
}

impl From<Expired> for OnExpired {
    fn from(expired: Expired) -> Self {
        match expired {
            Expired::Drop => Self::Drop,
            Expired::DeadLetter => Self::DeadLetter,
        }
    }
}

/// How a worker behaves; the defaults are those that [`Worker`](crate::Worker) documents.
#[derive(Clone, Debug)]
pub(crate) struct WorkerSettings {
    pub(crate) retry: Retry,
    pub(crate) timeout: Duration,
    pub(crate) concurrency: u32,
    /// `None`: as many as `concurrency` and the batch handlers need, at least the default of
    /// subscriptions.
    pub(crate) max_in_flight: Option<usize>,
    pub(crate) lease: Duration,
    pub(crate) order: Order,
    /// `None`: the latest, and logged when a new group starts there.
    pub(crate) start: Option<Start>,
    pub(crate) drain_within: Duration,
    pub(crate) unknown: Unknown,
    pub(crate) expired: Expired,
    pub(crate) clock_skew: Duration,
    pub(crate) breaker: Option<Breaker>,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            retry: Retry::default(),
            timeout: Duration::from_secs(30),
            concurrency: 64,
            max_in_flight: None,
            lease: SubscriptionSpec::DEFAULT_LEASE,
            order: Order::default(),
            start: None,
            drain_within: Duration::from_secs(30),
            unknown: Unknown::default(),
            expired: Expired::default(),
            clock_skew: MemberOptions::DEFAULT_SKEW,
            breaker: None,
        }
    }
}
