//! A delivery between its receipt and the request to settle it.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use super::lanes::LaneId;
use super::table::Slot;
use crate::contract::{
    AttemptRecord, DeadLetter, DeadLetterId, Delivery, Failure, Message, Origin, Position, Receipt,
    SubscriptionId,
};

/// A judged delivery.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) slot: Slot,
    pub(super) receipt: Receipt,
    pub(super) message: Arc<Message>,
    pub(super) position: Position,
    pub(super) delivery: u32,
    /// What earlier attempts left behind; never `started`, see `marked`.
    pub(super) record: AttemptRecord,
    /// A started-mark has to be stored before a handler runs.
    pub(super) mark: bool,
    /// The stored record says `started`.
    pub(super) marked: bool,
    /// It may have killed its last holder.
    pub(super) suspect: bool,
    /// Its key rests until then.
    pub(super) not_before: Option<Instant>,
    pub(super) lane: Option<LaneId>,
}

impl Entry {
    /// The entry in `slot` of a delivery that may be handed out.
    pub(super) fn new(slot: Slot, delivery: Delivery, record: AttemptRecord) -> Self {
        Self {
            slot,
            receipt: delivery.receipt,
            message: delivery.message,
            position: delivery.position,
            delivery: delivery.delivery,
            record,
            mark: false,
            marked: false,
            suspect: false,
            not_before: delivery.not_before,
            lane: None,
        }
    }

    /// What is stored before a handler runs.
    pub(super) fn started(&self) -> AttemptRecord {
        AttemptRecord {
            started: true,
            ..self.record
        }
    }

    /// The record to store when it is requeued without a failure; `None` when the stored one is right.
    pub(super) fn unfinished(&self) -> Option<AttemptRecord> {
        (self.marked || self.record != AttemptRecord::default()).then_some(self.record)
    }
}

/// The dead letter that `subscription` makes of a message; `record` counts the attempts made.
pub(super) fn dead_letter(
    subscription: &SubscriptionId,
    message: &Arc<Message>,
    position: &Position,
    record: &AttemptRecord,
    failure: Failure,
    now: SystemTime,
) -> DeadLetter {
    let (origin, generation) = match message.targeted.as_deref() {
        Some(copy) => (copy.origin.clone(), copy.generation),
        None => (
            Origin {
                position: position.clone(),
                stored_at: position.stored_at(),
            },
            0,
        ),
    };
    let topic = message.topic.as_str();
    let id = DeadLetterId::derive(
        subscription,
        topic,
        &message.metadata.id,
        &origin,
        generation,
    );
    DeadLetter {
        id,
        subscription: subscription.clone(),
        message: original(message),
        origin,
        generation,
        attempts: record.attempt() - 1,
        error: failure,
        first_failure: record.first_failure.unwrap_or(now),
        last_failure: record.last_failure.unwrap_or(now),
    }
}

/// The message as it was published first: a copy's own address and dedup id belong to the copy.
fn original(message: &Arc<Message>) -> Arc<Message> {
    if message.targeted.is_none() {
        return Arc::clone(message);
    }
    Arc::new(Message {
        targeted: None,
        dedup_id: None,
        ..Message::clone(message)
    })
}
