//! How long a namespace keeps messages.

use std::time::Duration;

/// How long a namespace keeps messages; one meaning and one default on every transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// What ends a message's life before its age does.
    pub mode: RetentionMode,
    /// Messages older than this are removed, settled or not.
    pub age: Duration,
    /// Most bytes of a namespace; `None` is no limit.
    pub bytes: Option<u64>,
    /// Most messages of a namespace; `None` is no limit.
    pub count: Option<u64>,
    /// What happens to a publish at the limit of bytes or count.
    pub when_full: WhenFull,
}

/// What ends a message's life before its age does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetentionMode {
    /// Nothing: settled or not, it stays until a limit.
    #[default]
    Limits,
    /// It is removed once every durable subscription that matches it has settled it.
    Settled,
}

/// What happens to a publish at the limit of bytes or count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// It is refused with `Throttled`, naming the key to raise.
    #[default]
    Reject,
    /// The oldest messages are dropped; what was unsettled is counted.
    DropOldest,
}

impl Default for Retention {
    /// Seven days, no limit of bytes or count.
    fn default() -> Self {
        Self {
            mode: RetentionMode::default(),
            age: Duration::from_secs(7 * 24 * 60 * 60),
            bytes: None,
            count: None,
            when_full: WhenFull::default(),
        }
    }
}
