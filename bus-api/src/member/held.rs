//! A held delivery: the duty to settle it.

use std::fmt;
use std::sync::Arc;

use super::confirmation::Confirmation;
use super::entry::Entry;
use super::options::Decision;
use super::shared::Shared;
use crate::contract::{Failure, Message, Position};

/// A delivery that a member handed out: it owns a permit of `max_in_flight`, the lane of its key and the
/// duty to settle. Permit and lane are free as soon as settling is requested.
///
/// Dropped unsettled it has failed ([`Failure::DROPPED`]) and the member's policy decides.
pub(crate) struct Held {
    shared: Arc<Shared>,
    entry: Entry,
    settled: bool,
}

impl Held {
    pub(super) fn new(shared: Arc<Shared>, entry: Entry) -> Self {
        Self {
            shared,
            entry,
            settled: false,
        }
    }

    /// The message.
    pub(crate) fn message(&self) -> &Arc<Message> {
        &self.entry.message
    }

    /// Where it lies.
    pub(crate) fn position(&self) -> &Position {
        &self.entry.position
    }

    /// 1 + recorded failures + recorded crashes.
    pub(crate) fn attempt(&self) -> u32 {
        self.entry.record.attempt()
    }

    /// Hand-overs as the broker counts them.
    pub(crate) fn delivery(&self) -> u32 {
        self.entry.delivery
    }

    /// Handled.
    pub(crate) fn ack(mut self) -> Confirmation {
        self.settled = true;
        self.shared.ack(&self.entry)
    }

    /// Failed, with what follows from it.
    pub(crate) fn fail(mut self, failure: Failure, decision: Decision) -> Confirmation {
        self.settled = true;
        self.shared.fail(&self.entry, failure, decision, true)
    }

    /// Not handled, and not a failure: the attempt stays as it is.
    pub(crate) fn hand_back(mut self) -> Confirmation {
        self.settled = true;
        self.shared.hand_back(&self.entry)
    }

    /// What the member's policy says about a failure of this attempt.
    pub(crate) fn policy(&self) -> Decision {
        (self.shared.policy)(self.attempt())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.settled {
            let failure = Failure::new(Failure::DROPPED, "the delivery was dropped unsettled");
            // Nobody can wait for the answer; settling goes on without.
            drop(self.shared.fail(&self.entry, failure, self.policy(), false));
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("message", &self.entry.message)
            .field("position", &self.entry.position)
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}
