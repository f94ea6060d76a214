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
    /// `None` once settling is requested.
    shared: Option<Arc<Shared>>,
    entry: Entry,
}

impl Held {
    pub(super) fn new(shared: Arc<Shared>, entry: Entry) -> Self {
        Self {
            shared: Some(shared),
            entry,
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
        self.entry.record().attempt()
    }

    /// Hand-overs as the broker counts them.
    pub(crate) fn delivery(&self) -> u32 {
        self.entry.delivery
    }

    /// Handled.
    pub(crate) fn ack(self) -> Confirmation {
        self.settle(|shared, entry| shared.ack(entry, true))
    }

    /// Handled, and nobody waits for the broker to confirm.
    pub(crate) fn done(self) {
        drop(self.settle(|shared, entry| shared.ack(entry, false)));
    }

    /// Failed, with what follows from it.
    pub(crate) fn fail(self, failure: Failure, decision: Decision) -> Confirmation {
        self.settle(|shared, entry| shared.fail(entry, failure, decision, true))
    }

    /// Not handled, and not a failure: the attempt stays as it is.
    pub(crate) fn hand_back(self) -> Confirmation {
        self.settle(Shared::hand_back)
    }

    fn settle(mut self, how: impl FnOnce(Arc<Shared>, &Entry) -> Confirmation) -> Confirmation {
        match self.shared.take() {
            Some(shared) => how(shared, &self.entry),
            None => Confirmation::known(Ok(())),
        }
    }

    /// What the member's policy says about a failure of this attempt.
    pub(crate) fn policy(&self) -> Decision {
        match &self.shared {
            Some(shared) => (shared.policy)(self.attempt()),
            // Settling takes it by value: nobody is left to ask.
            None => Decision::DeadLetter,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            let failure = Failure::new(Failure::DROPPED, "the delivery was dropped unsettled");
            let decision = (shared.policy)(self.attempt());
            // Nobody can wait for the answer; settling goes on without.
            drop(shared.fail(&self.entry, failure, decision, false));
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
