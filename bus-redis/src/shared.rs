//! What the driver of a member, its receiver and its settler share.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bus_api::adapter::{Certainty, Hold, until};
use bus_api::{AttemptRecord, Delivery, Error, Inflow, Offset, Receipt, Result, Topic};
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::closed;

/// What a member holds of one message.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) topic: Topic,
    pub(crate) offset: Offset,
    /// As stored.
    pub(crate) record: Option<Bytes>,
    /// It lies in the buffer: no handler has seen it.
    pub(crate) buffered: bool,
    /// For ordered subscriptions: what is handed over again in the member.
    pub(crate) delivery: Option<Box<Delivery>>,
}

#[derive(Debug, Default)]
struct State {
    wanted: usize,
    buffer: VecDeque<Delivery>,
    lost: Vec<Receipt>,
    held: HashMap<u64, Held>,
    next_slot: u64,
    ended: Option<Error>,
    certainty: Certainty,
    /// Of what is held.
    epoch: u64,
}

impl State {
    /// What is handed over and was not begun does not begin.
    fn reclaim(&self, by: Instant) -> Option<Result<Inflow>> {
        let epoch = self.epoch;
        let handed_over = self.held.iter().filter(|(_, held)| !held.buffered);
        let receipts: Vec<Receipt> = handed_over
            .map(|(slot, _)| Receipt { slot: *slot, epoch })
            .collect();
        (!receipts.is_empty()).then_some(Ok(Inflow::Reclaim { receipts, by }))
    }
}

/// What the driver of a member, its receiver and its settler share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Tells the driver that there is something to do.
    pub(crate) driver: Notify,
    receiver: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many messages may be fetched now.
    pub(crate) fn room(&self) -> usize {
        let state = self.lock();
        state.wanted.saturating_sub(state.buffer.len())
    }

    /// What is held of a topic.
    pub(crate) fn held_of(&self, topic: &Topic) -> HashSet<Offset> {
        let state = self.lock();
        let held = state.held.values().filter(|held| held.topic == *topic);
        held.map(|held| held.offset).collect()
    }

    /// Takes up what was fetched; `keep` keeps each delivery for handing it over again.
    pub(crate) fn push(
        &self,
        fetched: Vec<(Topic, Delivery)>,
        epoch: u64,
        keep: bool,
        track: bool,
    ) {
        if fetched.is_empty() {
            return;
        }
        let mut state = self.lock();
        for (topic, mut delivery) in fetched {
            let slot = state.next_slot;
            state.next_slot += 1;
            delivery.receipt = Receipt { slot, epoch };
            if track {
                let offset = delivery.position.offset();
                let held = Held {
                    topic,
                    offset,
                    record: delivery.record.clone(),
                    buffered: true,
                    delivery: keep.then(|| Box::new(delivery.clone())),
                };
                state.held.insert(slot, held);
            }
            state.buffer.push_back(delivery);
        }
        drop(state);
        self.receiver.notify_one();
    }

    /// The lease was renewed.
    pub(crate) fn renewed(&self, until: Instant, epoch: u64) {
        let mut state = self.lock();
        state.epoch = epoch;
        let had_ended = state.certainty.renewed(until);
        drop(state);
        if had_ended {
            self.receiver.notify_one();
        }
    }

    /// Hands something held over once more, before everything else.
    pub(crate) fn again(&self, slot: u64, change: impl FnOnce(&mut Delivery)) {
        let mut state = self.lock();
        let Some(mut held) = state.held.remove(&slot) else {
            return;
        };
        let Some(mut delivery) = held.delivery.take() else {
            return;
        };
        change(&mut delivery);
        let slot = state.next_slot;
        state.next_slot += 1;
        delivery.receipt.slot = slot;
        held.record = delivery.record.clone();
        held.buffered = true;
        held.delivery = Some(delivery.clone());
        state.held.insert(slot, held);
        // In log order before what was fetched later.
        let position = delivery.position.clone();
        let at = state
            .buffer
            .iter()
            .position(|other| {
                other.position.log() == position.log()
                    && other.position.offset() > position.offset()
            })
            .unwrap_or(state.buffer.len());
        state.buffer.insert(at, *delivery);
        drop(state);
        self.receiver.notify_one();
    }

    /// What is held under this receipt.
    pub(crate) fn held(&self, receipt: Receipt, epoch: u64) -> Option<Held> {
        if receipt.epoch != epoch {
            return None;
        }
        self.lock().held.get(&receipt.slot).cloned()
    }

    /// A record was stored.
    pub(crate) fn recorded(&self, receipt: Receipt, record: &AttemptRecord) {
        if let Some(held) = self.lock().held.get_mut(&receipt.slot) {
            let stored = record.encode();
            if let Some(delivery) = &mut held.delivery {
                delivery.record = Some(stored.clone());
            }
            held.record = Some(stored);
        }
    }

    /// It is settled, or no longer this member's.
    pub(crate) fn forget(&self, receipt: Receipt) {
        let mut state = self.lock();
        state.held.remove(&receipt.slot);
    }

    /// The lowest held message of a topic.
    pub(crate) fn lowest(&self, topic: &Topic) -> Option<Offset> {
        let state = self.lock();
        let held = state.held.values().filter(|held| held.topic == *topic);
        held.map(|held| held.offset).min()
    }

    /// Nothing of these topics is this member's any more.
    pub(crate) fn lose(&self, lost: impl Fn(&Topic) -> bool, epoch: u64) {
        let mut state = self.lock();
        let slots: Vec<u64> = state
            .held
            .iter()
            .filter(|(_, held)| lost(&held.topic))
            .map(|(slot, _)| *slot)
            .collect();
        for slot in slots {
            if let Some(held) = state.held.remove(&slot) {
                if held.buffered {
                    state
                        .buffer
                        .retain(|delivery| delivery.receipt.slot != slot);
                } else {
                    state.lost.push(Receipt { slot, epoch });
                }
            }
        }
        drop(state);
        self.receiver.notify_one();
    }

    /// What lies in the buffer, taken out of it: no handler has seen it.
    pub(crate) fn take_buffer(&self) -> Vec<Receipt> {
        let mut state = self.lock();
        state.wanted = 0;
        let buffer = std::mem::take(&mut state.buffer);
        buffer.iter().map(|delivery| delivery.receipt).collect()
    }

    /// Ends it: what is not handed over yet is not handed over, receiving gives this error.
    pub(crate) fn end(&self, error: Error) {
        let mut state = self.lock();
        state.buffer.clear();
        state.ended.get_or_insert(error);
        drop(state);
        self.receiver.notify_waiters();
        self.receiver.notify_one();
    }

    fn take(&self, max: usize) -> Option<Result<Inflow>> {
        let mut state = self.lock();
        if !state.lost.is_empty() {
            return Some(Ok(Inflow::Lost(std::mem::take(&mut state.lost))));
        }
        if let Some(error) = &state.ended {
            return Some(Err(error.clone()));
        }
        let now = Instant::now();
        match state.certainty.look(now) {
            Hold::Certain => {}
            Hold::Ends => return state.reclaim(now),
            Hold::Ended => return None,
        }
        if state.buffer.is_empty() || max == 0 {
            return None;
        }
        let count = state.buffer.len().min(max);
        let taken: Vec<Delivery> = state.buffer.drain(..count).collect();
        for delivery in &taken {
            if let Some(held) = state.held.get_mut(&delivery.receipt.slot) {
                held.buffered = false;
            }
        }
        state.wanted = 0;
        Some(Ok(Inflow::Deliveries(taken)))
    }

    /// Waits for something to hand over.
    pub(crate) async fn receive(&self, max: usize) -> Result<Inflow> {
        let _wanting = Wanting(self);
        loop {
            let woken = self.receiver.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if let Some(taken) = self.take(max) {
                return taken;
            }
            let ends = {
                let mut state = self.lock();
                state.wanted = max;
                state.certainty.ends()
            };
            self.driver.notify_one();
            tokio::select! {
                () = woken => {}
                () = until(ends) => {}
            }
        }
    }
}

/// Whoever stops waiting wants nothing more.
struct Wanting<'a>(&'a Shared);

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.lock().wanted = 0;
    }
}

/// Ends the subscription when its driver is gone, however that came.
pub(crate) struct EndsWith(pub(crate) std::sync::Arc<Shared>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.end(closed());
    }
}
