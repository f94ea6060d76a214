//! How long what a member holds is its own for certain.

use std::time::Duration;

use tokio::time::Instant;

/// How long a lease counts from the moment at which it was asked for: less than at the broker, whose clock may run faster,
/// and so much less that the core has heard of its end before the broker gives the deliveries to another member.
///
/// ```
/// use std::time::Duration;
///
/// let lease = Duration::from_secs(30);
/// assert_eq!(bus_api::adapter::certain(lease), Duration::from_secs(27));
/// ```
#[must_use]
pub fn certain(lease: Duration) -> Duration {
    lease - lease / 10
}

/// How long all that a member holds is its own for certain, where one lease covers it all.
///
/// A member that cannot reach its broker is not told that others have its deliveries: it has to know by its own clock. At
/// the end an adapter reports [`Inflow::Reclaim`](crate::Inflow::Reclaim), once, and hands nothing over until the lease
/// is renewed.
///
/// ```
/// use std::time::Duration;
///
/// use bus_api::adapter::{Certainty, Hold};
/// use tokio::time::Instant;
///
/// let (now, second) = (Instant::now(), Duration::from_secs(1));
/// let mut certainty = Certainty::default();
/// certainty.renewed(now + second);
/// assert_eq!(certainty.look(now), Hold::Certain);
/// assert_eq!(certainty.look(now + second), Hold::Ends);
/// assert_eq!(certainty.look(now + second), Hold::Ended);
/// assert!(certainty.renewed(now + 3 * second), "it had ended");
/// assert_eq!(certainty.look(now + second), Hold::Certain);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Certainty {
    until: Option<Instant>,
    over: bool,
}

/// What a [`Certainty`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// What is held is this member's; also as long as no lease was ever renewed.
    Certain,
    /// From now on it may be another member's; said once.
    Ends,
    /// It may be another member's.
    Ended,
}

impl Certainty {
    /// The lease was renewed until then, see [`certain`]; true when it had ended before.
    pub fn renewed(&mut self, until: Instant) -> bool {
        self.until = Some(until);
        std::mem::take(&mut self.over)
    }

    /// How it is now.
    pub fn look(&mut self, now: Instant) -> Hold {
        match self.until {
            Some(until) if until <= now && self.over => Hold::Ended,
            Some(until) if until <= now => {
                self.over = true;
                Hold::Ends
            }
            _ => Hold::Certain,
        }
    }

    /// When to look next, at the latest.
    #[must_use]
    pub fn ends(&self) -> Option<Instant> {
        self.until.filter(|_| !self.over)
    }
}
