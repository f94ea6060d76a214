//! How a member is joined, and what it reports when it has left.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::{Scope, SubscriptionSpec};
use crate::error::Error;

/// Most settlements that were requested and not yet confirmed; beyond it nothing is fetched.
pub(crate) const MAX_UNCONFIRMED: usize = 8192;

/// What a failed delivery becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The failure counts; it runs again not before this much later.
    Retry {
        /// The backoff; zero is at once.
        after: Duration,
    },
    /// The failure counts and was the last one.
    DeadLetter,
    /// The failure does not count; it runs again not before this much later.
    Defer {
        /// The delay; zero is at once.
        after: Duration,
    },
}

/// What becomes of a message that expired before a handler saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnExpired {
    /// It is settled and counted.
    #[default]
    Drop,
    /// It becomes a dead letter.
    DeadLetter,
}

/// Decides about attempt `n` (1-based) of a delivery that failed without saying how.
pub(crate) type Policy = Arc<dyn Fn(u32) -> Decision + Send + Sync>;

/// How a member is joined.
#[derive(Clone)]
pub(crate) struct MemberOptions {
    /// The subscription.
    pub(crate) spec: SubscriptionSpec,
    /// A delivery whose attempt is higher is given up before a handler sees it.
    pub(crate) max_attempts: u32,
    /// What becomes of expired messages.
    pub(crate) on_expired: OnExpired,
    /// How much later than its expiry a message still counts as valid, for clocks that differ.
    pub(crate) skew: Duration,
    /// Redeliveries that no recorded failure explains run one at a time, so that a message that
    /// aborts the process does not raise the attempts of its neighbours. For workers.
    pub(crate) quarantine: bool,
    /// What becomes of a delivery that is dropped unsettled.
    pub(crate) policy: Policy,
}

impl MemberOptions {
    /// Tolerated difference of clocks unless another one is asked for.
    pub(crate) const DEFAULT_SKEW: Duration = Duration::from_secs(1);

    /// The defaults for `spec`: expired messages are dropped, no quarantine.
    pub(crate) fn new(spec: SubscriptionSpec, max_attempts: u32, policy: Policy) -> Self {
        Self {
            spec,
            max_attempts,
            on_expired: OnExpired::default(),
            skew: Self::DEFAULT_SKEW,
            quarantine: false,
            policy,
        }
    }

    /// Whether failed deliveries are tried again inside the member instead of being requeued.
    pub(crate) fn retries_in_place(&self) -> bool {
        self.spec.order == crate::contract::Order::PerKey || self.spec.scope == Scope::Broadcast
    }
}

impl fmt::Debug for MemberOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberOptions")
            .field("spec", &self.spec)
            .field("max_attempts", &self.max_attempts)
            .field("on_expired", &self.on_expired)
            .field("skew", &self.skew)
            .field("quarantine", &self.quarantine)
            .finish_non_exhaustive()
    }
}

/// What a drain found and did.
#[derive(Clone, Debug, Default)]
pub(crate) struct DrainReport {
    /// Deliveries that were fetched and never handed out: handed back, not failed.
    pub(crate) handed_back: usize,
    /// Deliveries that were still held at the deadline; their lease frees them.
    pub(crate) abandoned: usize,
    /// Settlements that the broker had not confirmed at the deadline.
    pub(crate) unconfirmed: usize,
    /// Why leaving failed, when it did.
    pub(crate) error: Option<Error>,
}

impl DrainReport {
    /// Whether everything that was held is settled and the group was left.
    pub(crate) fn is_clean(&self) -> bool {
        self.abandoned == 0 && self.unconfirmed == 0 && self.error.is_none()
    }
}
