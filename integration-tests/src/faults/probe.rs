//! The event that is counted.

use std::time::{SystemTime, UNIX_EPOCH};

use bus::Event;
use serde::{Deserialize, Serialize};

/// The pattern that every subscription of a fault run listens to.
pub(super) const PATTERN: &str = "fault.>";
const TOPICS: u64 = 4;
const KEYS: u64 = 1024;
/// Brings an event to about a quarter of a kibibyte.
const PADDING: usize = 128;

/// A numbered event; the number alone says what becomes of it.
#[derive(Clone, Debug, Serialize, Deserialize, Event)]
#[event(type = "fault.probe", topic = "fault.{place}", key = "key")]
pub(super) struct Probe {
    pub(super) number: u64,
    place: String,
    key: u64,
    padding: String,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is acked.
    Acked,
    /// Its first attempt fails, a later one is acked.
    Retried,
    /// It becomes a dead letter.
    Buried,
}

impl Probe {
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            place: format!("t{}", number % TOPICS),
            key: number % KEYS,
            padding: "x".repeat(PADDING),
        }
    }
}

/// What becomes of the event of this number: one in fifty is retried, one in a hundred is buried.
pub(super) fn fate(number: u64) -> Fate {
    match number % 100 {
        13 => Fate::Buried,
        31 | 71 => Fate::Retried,
        _ => Fate::Acked,
    }
}

/// Microseconds of the machine's clock, which all processes of a run share.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}
