//! The messages of one topic and key that are on their way (P7).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::engine::Entry;
use crate::contract::{Message, Topic};
use crate::error::Error;

/// What orders messages: topic and key. Without a key no order is promised.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LaneKey(Topic, Bytes);

impl LaneKey {
    pub(super) fn of(message: &Message) -> Option<Self> {
        let key = message.key.clone()?;
        Some(Self(message.topic.clone(), key))
    }
}

/// The messages of one topic and key that are on their way.
///
/// A failed message is sent again only while nothing later of the lane may be stored: so it waits until
/// everything that was sent of the lane has its outcome, and newer messages wait behind it.
pub(super) struct Lane<T> {
    /// Messages in calls that have not answered.
    pub(super) in_flight: usize,
    /// Certainly not stored, or protected by dedup; in order of their numbers.
    failed: Vec<Failed<T>>,
    /// Not sent, because earlier ones failed.
    held: VecDeque<Entry<T>>,
    /// The highest number that is or may be stored.
    stored: Option<u64>,
    resting: bool,
}

/// A message that waits to be sent again.
struct Failed<T> {
    entry: Entry<T>,
    delay: Duration,
    error: Error,
}

/// What a lane needs next.
pub(super) enum Step {
    /// Calls to answer, or a rest to end.
    Wait,
    /// To rest this long, then [`Lane::resume`].
    Rest(Duration),
    /// Nothing: it can be forgotten.
    Gone,
}

impl<T> Lane<T> {
    pub(super) fn new() -> Self {
        Self {
            in_flight: 0,
            failed: Vec::new(),
            held: VecDeque::new(),
            stored: None,
            resting: false,
        }
    }

    /// Takes an entry that must not be sent yet; gives it back when it may.
    pub(super) fn hold(&mut self, entry: Entry<T>) -> Option<Entry<T>> {
        if self.failed.is_empty() {
            return Some(entry);
        }
        self.held.push_back(entry);
        None
    }

    /// Number `seq` is or may be stored.
    pub(super) fn stored(&mut self, seq: u64) {
        self.stored = self.stored.max(Some(seq));
    }

    /// `entry` may be sent again after `delay`, unless something later is stored.
    pub(super) fn failed(&mut self, entry: Entry<T>, delay: Duration, error: Error) {
        let place = self
            .failed
            .partition_point(|other| other.entry.seq < entry.seq);
        self.failed.insert(
            place,
            Failed {
                entry,
                delay,
                error,
            },
        );
    }

    /// Moves out what can never be sent again, because something later is or may be stored; with its
    /// error.
    pub(super) fn overtaken(&mut self) -> Vec<(Entry<T>, Error)> {
        let Some(stored) = self.stored else {
            return Vec::new();
        };
        let overtaken = self
            .failed
            .partition_point(|failed| failed.entry.seq < stored);
        self.failed
            .drain(..overtaken)
            .map(|failed| {
                let error = failed.error.with(
                    "not_retried",
                    "a later message of the same topic and key was sent",
                );
                (failed.entry, error)
            })
            .collect()
    }

    /// What is next; to be asked when something was answered.
    pub(super) fn step(&mut self) -> Step {
        if self.in_flight > 0 || self.resting {
            return Step::Wait;
        }
        match self.failed.iter().map(|failed| failed.delay).max() {
            Some(delay) => {
                self.resting = true;
                Step::Rest(delay)
            }
            None => Step::Gone,
        }
    }

    /// What was held behind failed messages that are no more.
    pub(super) fn released(&mut self) -> VecDeque<Entry<T>> {
        if self.failed.is_empty() {
            std::mem::take(&mut self.held)
        } else {
            VecDeque::new()
        }
    }

    /// Everything that waits, in order, to be sent now.
    pub(super) fn resume(mut self) -> VecDeque<Entry<T>> {
        let failed = self.failed.drain(..).map(|failed| Entry {
            last_error: Some(failed.error),
            ..failed.entry
        });
        let mut entries: VecDeque<_> = failed.collect();
        entries.append(&mut self.held);
        entries
    }
}
