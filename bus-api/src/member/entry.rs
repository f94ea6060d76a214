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

/// A judged delivery. It is moved from queue to queue, so what few have is apart: see [`Rare`].
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) slot: Slot,
    pub(super) receipt: Receipt,
    pub(super) message: Arc<Message>,
    pub(super) position: Position,
    pub(super) delivery: u32,
    rare: Option<Box<Rare>>,
    /// A started-mark has to be stored before a handler runs.
    pub(super) mark: bool,
    /// The stored record says `started`.
    pub(super) marked: bool,
    /// It may have killed its last holder.
    pub(super) suspect: bool,
    pub(super) lane: Option<LaneId>,
}

/// What only a delivery has that comes again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rare {
    /// What earlier attempts left behind; never `started`, see [`Entry::marked`].
    record: AttemptRecord,
    /// Its key rests until then.
    not_before: Option<Instant>,
}

impl Rare {
    fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
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
            rare: Rare {
                record,
                not_before: delivery.not_before,
            }
            .boxed(),
            mark: false,
            marked: false,
            suspect: false,
            lane: None,
        }
    }

    /// What earlier attempts left behind.
    pub(super) fn record(&self) -> AttemptRecord {
        self.rare
            .as_ref()
            .map_or_else(AttemptRecord::default, |rare| rare.record)
    }

    /// The same delivery after another attempt.
    pub(super) fn with_record(&self, record: AttemptRecord) -> Self {
        let not_before = self.not_before();
        Self {
            rare: Rare { record, not_before }.boxed(),
            ..self.clone()
        }
    }

    /// Until when its key rests.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.rare.as_ref()?.not_before
    }

    /// The same, and its key rests no more.
    pub(super) fn take_not_before(&mut self) -> Option<Instant> {
        self.rare.as_mut()?.not_before.take()
    }

    /// What is stored before a handler runs.
    pub(super) fn started(&self) -> AttemptRecord {
        AttemptRecord {
            started: true,
            ..self.record()
        }
    }

    /// The record to store when it is requeued without a failure; `None` when the stored one is right.
    pub(super) fn unfinished(&self) -> Option<AttemptRecord> {
        let record = self.record();
        (self.marked || record != AttemptRecord::default()).then_some(record)
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
