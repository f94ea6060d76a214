//! When messages are made.

use std::time::{Duration, SystemTime};

use crate::clock;
use crate::ids;

/// When messages are made, as they tell it: worked out once for many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(super) time: SystemTime,
    /// As new identities name it.
    pub(super) millis: u64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let now = clock::now();
        Self {
            time: whole_micros(now),
            millis: ids::millis(now),
        }
    }
}

/// Whole microseconds: what CloudEvents `time` holds on every transport.
pub(super) fn whole_micros(time: SystemTime) -> SystemTime {
    let nanos = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .subsec_nanos();
    time - Duration::from_nanos(u64::from(nanos % 1_000))
}
