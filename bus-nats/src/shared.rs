//! What the driver of a member, its receiver and its settler share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bus_api::{AttemptRecord, Delivery, Error, Inflow, Receipt, Result};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::closed;
use crate::held::{Fetched, Held, Settling, State};
use crate::ours::FORGOTTEN;

/// With so many that rest, those whose time has come are forgotten.
const RESTING: usize = 1_024;

/// What the driver of a member, its receiver and its settler share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Tells the driver that there is something to do.
    pub(crate) driver: Notify,
    /// Tells the receiver that there is something to hand over, or news.
    pub(crate) receiver: Notify,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many messages may be fetched now.
    pub(crate) fn room(&self) -> usize {
        let state = self.lock();
        state.wanted.saturating_sub(state.buffer.len())
    }

    /// Whether this message is held.
    pub(crate) fn holds(&self, sequence: u64) -> bool {
        self.lock().slots.contains_key(&sequence)
    }

    /// Takes up what was fetched; `keep` keeps each delivery for handing it over again.
    pub(crate) fn push(&self, fetched: Vec<Fetched>, keep: bool) {
        let mut state = self.lock();
        for one in fetched {
            let Fetched {
                mut delivery,
                ack,
                run,
                hand_over,
                record_at,
                until,
            } = one;
            let sequence = delivery.position.offset().0;
            state.highest = state.highest.max(Some(sequence));
            state.resting.remove(&sequence);
            let known = state.slots.get(&sequence).copied();
            if let Some(held) = known.and_then(|slot| state.held.get_mut(&slot))
                && held.settling != Settling::Again
            {
                // The server took the lease for ended while this member held it: it still does.
                held.ack = ack;
                held.run = run;
                held.hand_over = hand_over;
                held.renewed = [None; 2];
                held.count = delivery.delivery;
                held.until = until;
                held.forgotten = false;
                continue;
            }
            let held = Held {
                sequence,
                ack,
                run,
                hand_over,
                stored_at: delivery.position.stored_at(),
                renewed: [None; 2],
                count: delivery.delivery,
                redelivered: delivery.redelivered,
                record: delivery.record.clone(),
                record_at,
                until,
                buffered: true,
                settling: Settling::No,
                returned: false,
                forgotten: false,
                delivery: keep.then(|| Box::new(delivery.clone())),
            };
            state.add(held, &mut delivery);
            state.buffer.push_back(delivery);
        }
        drop(state);
        self.receiver.notify_one();
    }

    /// Hands over what no one settles: for broadcasts.
    pub(crate) fn push_unheld(&self, deliveries: Vec<Delivery>) {
        let mut state = self.lock();
        for mut delivery in deliveries {
            delivery.receipt.slot = state.slot();
            state.buffer.push_back(delivery);
        }
        drop(state);
        self.receiver.notify_one();
    }

    /// Hands something held over once more, in its place among what waits.
    pub(crate) fn again(&self, receipt: Receipt, change: impl FnOnce(&mut Delivery)) {
        let mut state = self.lock();
        if receipt.epoch != state.epoch {
            return;
        }
        let Some(mut held) = state.remove(receipt.slot) else {
            return;
        };
        let Some(mut delivery) = held.delivery.clone() else {
            return;
        };
        change(&mut delivery);
        held.record = delivery.record.clone();
        held.redelivered = delivery.redelivered;
        held.buffered = true;
        held.settling = Settling::No;
        held.returned = false;
        state.add(held, &mut delivery);
        let sequence = delivery.position.offset();
        let at = state
            .buffer
            .iter()
            .position(|other| other.position.offset() > sequence)
            .unwrap_or(state.buffer.len());
        state.buffer.insert(at, *delivery);
        drop(state);
        self.receiver.notify_one();
    }

    /// What is held under this receipt, when it is still this member's.
    pub(crate) fn held(&self, receipt: Receipt) -> Option<Held> {
        let state = self.lock();
        if receipt.epoch != state.epoch {
            return None;
        }
        state.held.get(&receipt.slot).cloned()
    }

    /// Until when what is held under this receipt is this member's for certain.
    pub(crate) fn held_until(&self, receipt: Receipt) -> Option<Instant> {
        let state = self.lock();
        let held = state.held.get(&receipt.slot);
        let held = held.filter(|_| receipt.epoch == state.epoch);
        held.map(|held| held.until)
    }

    /// Notes that a settlement is under way; gives what is settled, when it is this member's.
    pub(crate) fn settle(&self, receipt: Receipt, how: Settling) -> Option<Held> {
        let mut state = self.lock();
        if receipt.epoch != state.epoch {
            return None;
        }
        let held = state.held.get_mut(&receipt.slot)?;
        if held.until <= Instant::now() {
            return None;
        }
        held.settling = how;
        Some(held.clone())
    }

    /// A settlement did not come about.
    pub(crate) fn unsettled(&self, receipt: Receipt) {
        let mut state = self.lock();
        if receipt.epoch == state.epoch
            && let Some(held) = state.held.get_mut(&receipt.slot)
        {
            held.settling = Settling::No;
            held.returned = false;
        }
    }

    /// A record was stored.
    pub(crate) fn recorded(&self, receipt: Receipt, record: &AttemptRecord, at: u64) {
        let mut state = self.lock();
        if receipt.epoch != state.epoch {
            return;
        }
        if let Some(held) = state.held.get_mut(&receipt.slot) {
            let stored = record.encode();
            if let Some(delivery) = &mut held.delivery {
                delivery.record = Some(stored.clone());
            }
            held.record = Some(stored);
            held.record_at = Some(at);
        }
    }

    /// The lease was renewed.
    pub(crate) fn extended(&self, receipt: Receipt, sent_at: Instant, until: Instant) -> bool {
        let mut state = self.lock();
        if receipt.epoch != state.epoch {
            return false;
        }
        match state.held.get_mut(&receipt.slot) {
            Some(held) => {
                held.until = held.until.max(until);
                held.renewed = [Some(sent_at), held.renewed[0]];
                true
            }
            None => false,
        }
    }

    /// It comes again, not before `due`.
    pub(crate) fn rest(&self, sequence: u64, due: Instant) {
        let mut state = self.lock();
        if state.resting.len() >= RESTING {
            let now = Instant::now();
            state.resting.retain(|_, due| *due > now);
        }
        state.resting.insert(sequence, due);
    }

    /// Whether this member has handed it back to come again later.
    pub(crate) fn rests(&self, sequence: u64) -> bool {
        self.lock().resting.contains_key(&sequence)
    }

    /// It is settled, or no longer this member's.
    pub(crate) fn forget(&self, receipt: Receipt) {
        let mut state = self.lock();
        if receipt.epoch == state.epoch {
            state.remove(receipt.slot);
        }
    }

    /// What is held and not settled; with `buffered` only what no handler has seen.
    pub(crate) fn receipts(&self, buffered: bool) -> Vec<Receipt> {
        let state = self.lock();
        let mut found: Vec<(u64, Receipt)> = state
            .held
            .iter()
            .filter(|(_, held)| held.settling == Settling::No && (!buffered || held.buffered))
            .map(|(slot, held)| {
                let epoch = state.epoch;
                (held.sequence, Receipt { slot: *slot, epoch })
            })
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, receipt)| receipt).collect()
    }

    /// How many messages are held, those on their way to being settled included.
    pub(crate) fn count(&self) -> usize {
        self.lock().held.len()
    }

    /// The lowest message that is held, and the highest that was ever fetched.
    pub(crate) fn bounds(&self) -> (Option<u64>, Option<u64>) {
        let state = self.lock();
        let lowest = state.held.values().map(|held| held.sequence).min();
        (lowest, state.highest)
    }

    /// What was held too long without a confirmed renewal is not this member's any more.
    pub(crate) fn expire(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        let gone: Vec<u64> = state
            .held
            .iter()
            .filter(|(_, held)| held.until <= now && held.settling == Settling::No)
            .map(|(slot, _)| *slot)
            .collect();
        if gone.is_empty() {
            return;
        }
        for slot in gone {
            state.lose(slot);
        }
        drop(state);
        self.receiver.notify_one();
    }

    /// Nothing is this member's any more. `anew`: the log itself is another one.
    pub(crate) fn lose_all(&self, anew: bool) {
        let mut state = self.lock();
        let mut all: Vec<u64> = state.held.keys().copied().collect();
        all.sort_unstable();
        for slot in all {
            state.lose(slot);
        }
        state.epoch += 1;
        if anew {
            state.highest = None;
            state.resting.clear();
        }
        drop(state);
        self.receiver.notify_one();
    }

    /// Nothing more is handed over; what lies in the buffer is still held.
    pub(crate) fn shut(&self) {
        let mut state = self.lock();
        state.wanted = 0;
        state.buffer.clear();
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
        if !state.forgotten.is_empty() {
            let receipts = std::mem::take(&mut state.forgotten);
            let by = Instant::now() + FORGOTTEN;
            return Some(Ok(Inflow::Reclaim { receipts, by }));
        }
        if let Some(error) = &state.ended {
            return Some(Err(error.clone()));
        }
        if state.buffer.is_empty() || max == 0 {
            return None;
        }
        let (mut taken, now) = (Vec::new(), Instant::now());
        while taken.len() < max
            && let Some(delivery) = state.buffer.pop_front()
        {
            let slot = delivery.receipt.slot;
            match state.held.get_mut(&slot) {
                // Another member may have it by now; only ordered ones have no other.
                Some(held) if held.until <= now && held.delivery.is_none() => {
                    state.remove(slot);
                    continue;
                }
                Some(held) => held.buffered = false,
                None => {}
            }
            taken.push(delivery);
        }
        if taken.is_empty() {
            return None;
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
            self.lock().wanted = max;
            self.driver.notify_one();
            woken.await;
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
pub(crate) struct EndsWith(pub(crate) Arc<Shared>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.end(closed());
    }
}
