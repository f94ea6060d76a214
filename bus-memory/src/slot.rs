//! What a subscription remembers of a message that it has handed over and that is not settled.

use bus_api::AttemptRecord;
use bytes::Bytes;
use tokio::time::Instant;

use crate::key_locks::Lane;

/// A message that was handed over and is not settled.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Its number in the store.
    pub(crate) number: u64,
    /// Which hand-over the current one is, counted over the whole subscription.
    pub(crate) epoch: u64,
    pub(crate) state: State,
    /// Hand-overs so far.
    pub(crate) deliveries: u32,
    /// A handler may have started it before the current, or else the next, hand-over.
    pub(crate) suspect: bool,
    pub(crate) record: Option<Bytes>,
    /// Its lane, where the subscription keeps order and the message has a key.
    pub(crate) lane: Option<Lane>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A member holds it until its lease ends.
    Held {
        /// Which member.
        member: u64,
        /// When the lease ends.
        until: Instant,
    },
    /// It waits for its turn.
    Ready,
    /// It rests until then.
    Delayed(Instant),
}

impl Slot {
    /// When something happens to it by itself.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Held { until, .. } | State::Delayed(until) => Some(until),
            State::Ready => None,
        }
    }

    /// Who holds it.
    pub(crate) fn holder(&self) -> Option<u64> {
        match self.state {
            State::Held { member, .. } => Some(member),
            State::Ready | State::Delayed(_) => None,
        }
    }

    /// Takes back the started-mark. A record that this release cannot read stays as it is: whoever
    /// receives it next ends with `Unsupported`.
    pub(crate) fn unmark(&mut self) {
        let marked = self
            .record
            .as_deref()
            .and_then(|stored| AttemptRecord::decode(stored).ok())
            .filter(|record| record.started);
        if let Some(record) = marked {
            let unmarked = AttemptRecord {
                started: false,
                ..record
            };
            self.record = (unmarked != AttemptRecord::default()).then(|| unmarked.encode());
        }
    }
}
