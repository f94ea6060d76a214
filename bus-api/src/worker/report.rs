//! What a worker did.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// What a worker did from its start until it had drained.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Messages that a handler handled.
    pub handled: u64,
    /// Attempts that failed: retried, dead-lettered or deferred.
    pub failed: u64,
    /// Of these, to be tried again.
    pub retried: u64,
    /// Of these, given up; messages that could not be decoded and, so configured, unknown types
    /// included. A broadcast drops them.
    pub dead_lettered: u64,
    /// Of these, to come again without having used an attempt.
    pub deferred: u64,
    /// Messages of unknown types that were settled unseen.
    pub skipped: u64,
    /// Deliveries that were handed back unhandled when the worker stopped; no attempt was used.
    pub handed_back: u64,
    /// Requests that were answered with their reply.
    pub answered: u64,
    /// Requests that were answered with a failure.
    pub refused: u64,
    /// Requests that were not begun, or not answered, because their deadline had passed.
    pub overdue: u64,
    /// Deliveries that were still held, and settlements that the broker had not confirmed, when the
    /// worker left: they may come again.
    pub unsettled: u64,
    /// Why the worker ended by itself, or could not leave in order.
    pub error: Option<Error>,
}

/// The numbers of a [`Report`] while the worker runs.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) handled: Count,
    pub(crate) retried: Count,
    pub(crate) dead_lettered: Count,
    pub(crate) deferred: Count,
    pub(crate) skipped: Count,
    pub(crate) handed_back: Count,
    pub(crate) answered: Count,
    pub(crate) refused: Count,
    pub(crate) overdue: Count,
}

#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counts {
    pub(crate) fn report(&self) -> Report {
        let (retried, deferred) = (self.retried.get(), self.deferred.get());
        let dead_lettered = self.dead_lettered.get();
        Report {
            handled: self.handled.get(),
            failed: retried + dead_lettered + deferred,
            retried,
            dead_lettered,
            deferred,
            skipped: self.skipped.get(),
            handed_back: self.handed_back.get(),
            answered: self.answered.get(),
            refused: self.refused.get(),
            overdue: self.overdue.get(),
            unsettled: 0,
            error: None,
        }
    }
}
