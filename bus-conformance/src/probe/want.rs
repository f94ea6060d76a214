//! What a case asks of a subscription.

use std::time::Duration;

use bus_api::{Order, Start, SubscriptionSpec};

use crate::probe::time::ms;

/// What a case asks of a subscription, with defaults that suit most cases: everything from the first
/// message on, attempts without end in sight, and a short backoff for deliveries that are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    /// The group; `None` is a broadcast.
    pub(crate) group: Option<String>,
    /// The pattern.
    pub(crate) pattern: String,
    /// Where it starts when it is new.
    pub(crate) start: Start,
    /// The order across members.
    pub(crate) order: Order,
    /// The lease.
    pub(crate) lease: Duration,
    /// Most deliveries outstanding.
    pub(crate) max_in_flight: usize,
    /// Attempts before a message is given up.
    pub(crate) attempts: u32,
    /// How long a failed delivery rests when the case does not say.
    pub(crate) backoff: Duration,
}

/// A durable subscription from the first stored message on.
pub(crate) fn group(group: &str, pattern: &str) -> Want {
    Want {
        group: Some(group.to_owned()),
        pattern: pattern.to_owned(),
        start: Start::Earliest,
        order: Order::None,
        lease: SubscriptionSpec::DEFAULT_LEASE,
        max_in_flight: SubscriptionSpec::DEFAULT_MAX_IN_FLIGHT,
        attempts: 50,
        backoff: ms(50),
    }
}

/// A broadcast from now on.
pub(crate) fn broadcast(pattern: &str) -> Want {
    Want {
        group: None,
        start: Start::Latest,
        ..group("", pattern)
    }
}

impl Want {
    /// Starts elsewhere.
    pub(crate) fn start(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// Starts with what is published from now on.
    pub(crate) fn latest(self) -> Self {
        self.start(Start::Latest)
    }

    /// Keeps keys in order across members.
    pub(crate) fn per_key(self) -> Self {
        Self {
            order: Order::PerKey,
            ..self
        }
    }

    /// Has another lease.
    pub(crate) fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Has another bound of outstanding deliveries.
    pub(crate) fn in_flight(self, max_in_flight: usize) -> Self {
        Self {
            max_in_flight,
            ..self
        }
    }

    /// Gives a message up after this many attempts.
    pub(crate) fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// Lets a failed delivery rest this long.
    pub(crate) fn backoff(self, backoff: Duration) -> Self {
        Self { backoff, ..self }
    }
}
