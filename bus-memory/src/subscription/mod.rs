//! A subscription: what its members have not settled, and who gets what next.

mod hand_over;
mod members;
mod settling;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bus_api::{Delivery, Order, Pattern, Receipt, SubscriptionId};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::key_locks::{KeyLocks, Lane};
use crate::slab::{Key, Slab};
use crate::slot::{Slot, State};
use crate::store::{Store, Stored};
use crate::timers::{Timer, Timers};

/// A live member.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) connection: u64,
    pub(crate) lease: Duration,
    pub(crate) order: Order,
    pub(crate) wake: Arc<Notify>,
    /// What it held and lost, to be told.
    pub(crate) lost: Vec<Receipt>,
}

/// A subscription, durable or broadcast.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// Group and pattern; `None` is a broadcast, whose messages are done with once handed over.
    pub(crate) id: Option<SubscriptionId>,
    pub(crate) pattern: Pattern,
    /// Messages stored before are not for it: a start in the future.
    not_before: Option<SystemTime>,
    /// Numbers of the messages that nobody has looked at, ascending. Some may be gone from the store.
    feed: VecDeque<u64>,
    /// Of these, how many are still stored.
    unsent: u64,
    slots: Slab<Slot>,
    /// Looked at, not held and not settled, by number; without a slot when never handed over.
    back: BTreeMap<u64, Option<Key>>,
    /// Of these, what may be handed over now.
    ready: BTreeSet<u64>,
    /// Of these, how many were never handed over.
    parked: u64,
    /// Slots that rest.
    delayed: usize,
    ordered: bool,
    locks: KeyLocks,
    timers: Timers,
    epoch: u64,
    members: Vec<Member>,
    /// Members that wait in `receive`, longest first.
    waiters: VecDeque<(u64, Arc<Notify>)>,
    /// Members that were woken and have not yet looked.
    woken: Vec<u64>,
    /// Below this number everything may have been started before: bookkeeping was lost.
    suspect_below: u64,
    dropped: u64,
    unreported: u64,
    /// An operator has paused it; its members follow.
    pub(crate) paused: watch::Sender<bool>,
}

/// What `receive` finds.
pub(crate) enum Taken {
    /// Something to hand over.
    Deliveries(Vec<Delivery>),
    /// Receipts that the member lost.
    Lost(Vec<Receipt>),
    /// Nothing yet; look again then at the latest.
    Nothing(Option<Instant>),
    /// The member is none any more.
    Gone,
}

impl Subscription {
    pub(crate) fn new(
        id: Option<SubscriptionId>,
        pattern: Pattern,
        not_before: Option<SystemTime>,
    ) -> Self {
        Self {
            id,
            pattern,
            not_before,
            feed: VecDeque::new(),
            unsent: 0,
            slots: Slab::default(),
            back: BTreeMap::new(),
            ready: BTreeSet::new(),
            parked: 0,
            delayed: 0,
            ordered: false,
            locks: KeyLocks::default(),
            timers: Timers::default(),
            epoch: 0,
            members: Vec::new(),
            waiters: VecDeque::new(),
            woken: Vec::new(),
            suspect_below: 0,
            dropped: 0,
            unreported: 0,
            paused: watch::Sender::new(false),
        }
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.id.is_some()
    }

    /// Messages not yet settled, handed over or not.
    pub(crate) fn lag(&self) -> u64 {
        self.unsent + self.parked + self.pending()
    }

    /// Messages handed over and not settled.
    pub(crate) fn pending(&self) -> u64 {
        self.slots.len() as u64
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Dropped messages that were not yet reported; they count as reported now.
    pub(crate) fn take_unreported(&mut self) -> u64 {
        std::mem::take(&mut self.unreported)
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The number of the oldest unsettled message.
    pub(crate) fn oldest(&self, store: &Store) -> Option<u64> {
        let fresh = self.feed.iter().find(|number| store.contains(**number));
        let held = self.slots.iter().map(|(_, slot)| &slot.number);
        fresh
            .into_iter()
            .chain(held)
            .chain(self.back.keys())
            .copied()
            .min()
    }

    /// Takes a new message in; says whether it is for this subscription.
    pub(crate) fn offer(&mut self, number: u64, stored_at: SystemTime) -> bool {
        if self.not_before.is_some_and(|start| stored_at < start) {
            return false;
        }
        self.not_before = None;
        self.feed.push_back(number);
        self.unsent += 1;
        true
    }

    /// Forgets everything: receipts are fenced, members stay. Returns the numbers of what it had not
    /// settled.
    pub(crate) fn clear(&mut self) -> Vec<u64> {
        let held: Vec<_> = self
            .slots
            .iter()
            .filter_map(|(key, slot)| {
                let receipt = Receipt {
                    slot: key.to_raw(),
                    epoch: slot.epoch,
                };
                Some((slot.holder()?, receipt))
            })
            .collect();
        for (member, receipt) in held {
            self.tell_lost(member, receipt);
        }
        let keys: Vec<_> = self.slots.iter().map(|(key, _)| key).collect();
        let mut numbers: Vec<_> = self.back.keys().copied().collect();
        numbers.extend(self.feed.drain(..));
        for slot in keys.into_iter().filter_map(|key| self.slots.remove(key)) {
            if slot.holder().is_some() {
                numbers.push(slot.number);
            }
        }
        self.unsent = 0;
        self.back.clear();
        self.ready.clear();
        self.parked = 0;
        self.delayed = 0;
        self.locks.clear();
        self.timers.clear();
        self.not_before = None;
        numbers
    }

    /// After [`clear`](Self::clear): where it goes on.
    pub(crate) fn restart(&mut self, not_before: Option<SystemTime>, suspect_below: u64) {
        self.not_before = not_before;
        self.suspect_below = suspect_below;
    }

    /// Removes what belonged to a log that is gone: these `numbers`, ascending. Nothing is counted.
    pub(crate) fn forget_log(&mut self, numbers: &[u64]) {
        for number in numbers {
            if let Some(slot) = self.back.remove(number) {
                self.ready.remove(number);
                match slot {
                    Some(key) => {
                        self.finish(key);
                    }
                    None => self.parked -= 1,
                }
            } else if self.feed.binary_search(number).is_ok() {
                self.unsent -= 1;
            }
        }
        let gone: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| numbers.binary_search(&slot.number).is_ok())
            .map(|(key, _)| key)
            .collect();
        for key in gone {
            self.finish(key);
        }
    }

    /// Replaces the stored records, for tests of what a newer release would leave.
    pub(crate) fn replace_records(&mut self, record: &bytes::Bytes) {
        for (_, slot) in self.slots.iter_mut() {
            slot.record = Some(record.clone());
        }
    }
}

fn lane(stored: &Stored) -> Option<Lane> {
    Some(Lane {
        log: stored.log,
        key: stored.message.key.clone()?,
    })
}

fn is_ready(slots: &Slab<Slot>, slot: Option<Key>) -> bool {
    slot.is_none_or(|key| {
        slots
            .get(key)
            .is_some_and(|slot| slot.state == State::Ready)
    })
}

fn timer_holds(slots: &Slab<Slot>, timer: &Timer) -> bool {
    slots
        .get(timer.slot)
        .is_some_and(|slot| slot.due() == Some(timer.at))
}
