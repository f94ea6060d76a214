//! What a member holds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use async_nats::Subject;
use bus_api::{Delivery, Error, Receipt};
use bytes::Bytes;
use tokio::time::Instant;

use crate::by_number::ByNumber;

/// What a member holds of one message.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// Where it lies in the stream.
    pub(crate) sequence: u64,
    /// Where its settlement goes.
    pub(crate) ack: Subject,
    /// The run of the server that handed it over, where that matters, and the number of the hand-over.
    pub(crate) run: Option<Arc<str>>,
    pub(crate) hand_over: u64,
    /// When it was stored, by the server's clock.
    pub(crate) stored_at: SystemTime,
    /// When its lease was renewed: the last time, and the time before.
    pub(crate) renewed: [Option<Instant>; 2],
    /// Hand-overs as the server counts them.
    pub(crate) count: u32,
    /// A handler may have started it before.
    pub(crate) redelivered: bool,
    /// As stored.
    pub(crate) record: Option<Bytes>,
    /// Where its record lies, when there is one.
    pub(crate) record_at: Option<u64>,
    /// Until then it is this member's for certain.
    pub(crate) until: Instant,
    /// It lies in the buffer: no handler has seen it.
    pub(crate) buffered: bool,
    pub(crate) settling: Settling,
    /// The server was told that it is to come again: a renewal would put that off.
    pub(crate) returned: bool,
    /// The server has forgotten that this member has it: it gives it to anybody.
    pub(crate) forgotten: bool,
    /// For ordered subscriptions: what is handed over again in the member.
    pub(crate) delivery: Option<Box<Delivery>>,
}

/// Whether a settlement is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Settling {
    #[default]
    No,
    /// It is not to come again.
    ForGood,
    /// It is to come again, perhaps before the answer is here.
    Again,
}

/// A message as it was fetched.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) delivery: Delivery,
    pub(crate) ack: Subject,
    pub(crate) run: Option<Arc<str>>,
    pub(crate) hand_over: u64,
    pub(crate) record_at: Option<u64>,
    pub(crate) until: Instant,
}

/// What a member holds, and what of it was not handed over yet.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) wanted: usize,
    pub(crate) buffer: VecDeque<Delivery>,
    pub(crate) lost: Vec<Receipt>,
    /// What the server has forgotten: nothing of it is started any more.
    pub(crate) forgotten: Vec<Receipt>,
    pub(crate) held: ByNumber<Held>,
    pub(crate) slots: ByNumber<u64>,
    next_slot: u64,
    pub(crate) epoch: u64,
    pub(crate) highest: Option<u64>,
    /// What this member has handed back to come again later.
    pub(crate) resting: ByNumber<Instant>,
    pub(crate) ended: Option<Error>,
}

impl State {
    /// The next number of a delivery.
    pub(crate) fn slot(&mut self) -> u64 {
        let slot = self.next_slot;
        self.next_slot += 1;
        slot
    }

    pub(crate) fn remove(&mut self, slot: u64) -> Option<Held> {
        let held = self.held.remove(&slot)?;
        // It may have come again under another slot.
        if self.slots.get(&held.sequence) == Some(&slot) {
            self.slots.remove(&held.sequence);
        }
        Some(held)
    }

    pub(crate) fn add(&mut self, mut held: Held, delivery: &mut Delivery) {
        let slot = self.slot();
        delivery.receipt = Receipt {
            slot,
            epoch: self.epoch,
        };
        if let Some(kept) = &mut held.delivery {
            **kept = delivery.clone();
        }
        self.slots.insert(held.sequence, slot);
        self.held.insert(slot, held);
    }

    pub(crate) fn lose(&mut self, slot: u64) {
        if let Some(held) = self.remove(slot) {
            let receipt = Receipt {
                slot,
                epoch: self.epoch,
            };
            if held.buffered {
                self.buffer.retain(|delivery| delivery.receipt != receipt);
            } else if held.settling == Settling::No {
                self.lost.push(receipt);
            }
        }
    }
}
