//! A held delivery: the duty to settle it.

use std::sync::Arc;

use super::confirmation::Confirmation;
use super::options::Decision;
use crate::contract::{Failure, Message, Position};

/// A delivery that a member handed out: it owns a permit of `max_in_flight`, the lane of its key and the
/// duty to settle. Permit and lane are free as soon as settling is requested.
///
/// Dropped unsettled it has failed ([`Failure::DROPPED`]) and the member's policy decides.
pub(crate) struct Held {
    message: Arc<Message>,
    position: Position,
    attempt: u32,
    delivery: u32,
}

impl Held {
    /// The message.
    pub(crate) fn message(&self) -> &Arc<Message> {
        &self.message
    }

    /// Where it lies.
    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    /// 1 + recorded failures + recorded crashes.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Hand-overs as the broker counts them.
    pub(crate) fn delivery(&self) -> u32 {
        self.delivery
    }

    /// Handled.
    pub(crate) fn ack(self) -> Confirmation {
        Confirmation {}
    }

    /// Failed, with what follows from it.
    pub(crate) fn fail(self, _failure: Failure, _decision: Decision) -> Confirmation {
        Confirmation {}
    }

    /// Not handled, and not a failure: the attempt stays as it is.
    pub(crate) fn hand_back(self) -> Confirmation {
        Confirmation {}
    }
}
