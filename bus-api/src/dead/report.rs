//! What a redrive or a purge did.

use crate::contract::DeadLetterId;
use crate::error::Error;

/// What a redrive or a purge did.
#[derive(Clone, Debug, Default)]
#[must_use = "entries can have failed"]
pub struct DeadLetterReport {
    /// Entries that matched the filter.
    pub matched: u64,
    /// Entries that were redriven or purged; none in a dry run.
    pub done: u64,
    /// Entries that could not be redriven, and why; they are still there.
    pub failed: Vec<(DeadLetterId, Error)>,
}

/// How far a redrive or a purge is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterCounts {
    /// Entries that matched the filter so far.
    pub matched: u64,
    /// Entries that were redriven or purged so far.
    pub done: u64,
    /// Entries that failed so far.
    pub failed: u64,
}

impl DeadLetterReport {
    /// The numbers alone.
    #[must_use]
    pub fn counts(&self) -> DeadLetterCounts {
        DeadLetterCounts {
            matched: self.matched,
            done: self.done,
            failed: self.failed.len() as u64,
        }
    }
}
