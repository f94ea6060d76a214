//! What is to be told to the broker, collected into batches.

use super::table::Slot;
use crate::contract::{AttemptRecord, Receipt, Settlement};

/// Requested settlements and marks that no batch has taken yet, and how many settlements have no answer.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    settlements: Batch<Settlement>,
    /// Apart, so that acks do not wait for what takes long.
    letters: Batch<Settlement>,
    marks: Batch<AttemptRecord>,
    unconfirmed: usize,
}

/// Orders to the broker, each with the slot of its delivery.
#[derive(Debug)]
pub(super) struct Batch<T> {
    pub(super) slots: Vec<Slot>,
    pub(super) orders: Vec<(Receipt, T)>,
    /// How often it was sent before.
    pub(super) tries: u32,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            orders: Vec::new(),
            tries: 0,
        }
    }
}

impl<T> Batch<T> {
    pub(super) fn push(&mut self, slot: Slot, receipt: Receipt, order: T) {
        self.slots.push(slot);
        self.orders.push((receipt, order));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The next one is likely to be as long: it gets its places at once.
    fn take(&mut self) -> Option<Self> {
        if self.is_empty() {
            return None;
        }
        let next = Self {
            slots: Vec::with_capacity(self.slots.len()),
            orders: Vec::with_capacity(self.orders.len()),
            tries: 0,
        };
        Some(std::mem::replace(self, next))
    }
}

/// A batch to send.
#[derive(Debug)]
pub(super) enum Sendable {
    Settle(Batch<Settlement>),
    Mark(Batch<AttemptRecord>),
}

impl Outbox {
    pub(super) fn settle(&mut self, slot: Slot, receipt: Receipt, settlement: Settlement) {
        self.unconfirmed += 1;
        let batch = match settlement {
            Settlement::DeadLetter(_) => &mut self.letters,
            Settlement::Ack | Settlement::Release | Settlement::Requeue { .. } => {
                &mut self.settlements
            }
        };
        batch.push(slot, receipt, settlement);
    }

    pub(super) fn mark(&mut self, slot: Slot, receipt: Receipt, record: AttemptRecord) {
        self.marks.push(slot, receipt, record);
    }

    /// A settlement has its answer.
    pub(super) fn confirmed(&mut self) {
        self.unconfirmed = self.unconfirmed.saturating_sub(1);
    }

    /// Settlements that have no answer yet.
    pub(super) fn unconfirmed(&self) -> usize {
        self.unconfirmed
    }

    /// Takes the next batch.
    pub(super) fn take(&mut self) -> Option<Sendable> {
        if let Some(batch) = self.marks.take() {
            return Some(Sendable::Mark(batch));
        }
        self.settlements
            .take()
            .or_else(|| self.letters.take())
            .map(Sendable::Settle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_acks_do_not_wait_for_dead_letters() {
        let receipt = Receipt { slot: 1, epoch: 1 };
        let mut outbox = Outbox::default();
        outbox.settle(0, receipt, Settlement::Ack);
        outbox.settle(1, receipt, Settlement::Release);
        outbox.mark(2, receipt, AttemptRecord::default());
        assert_eq!(outbox.unconfirmed(), 2);
        assert!(matches!(outbox.take(), Some(Sendable::Mark(batch)) if batch.slots == [2]));
        assert!(matches!(outbox.take(), Some(Sendable::Settle(batch)) if batch.slots == [0, 1]));
        assert!(outbox.take().is_none());
        assert_eq!(outbox.unconfirmed(), 2);
    }
}
