//! A subscription: what its members have not settled, and who gets what next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bus_api::{Delivery, Offset, Order, Pattern, Position, Receipt, SubscriptionId};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::later;
use crate::key_locks::{KeyLocks, Lane};
use crate::log::Log;
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

    // Members

    pub(crate) fn join(&mut self, member: Member, store: &Store) {
        self.members.push(member);
        self.reorder(store);
        // Who waited alone looks again for when to look again.
        self.wake_all();
    }

    /// The member's part ends: what it held comes back at once.
    pub(crate) fn leave(&mut self, member: u64, store: &mut Store) {
        let before = self.members.len();
        self.members.retain(|known| known.id != member);
        if self.members.len() == before {
            return;
        }
        self.stop_waiting(member);
        for key in self.held_by(member) {
            if let Some(slot) = self.slots.get_mut(key) {
                slot.suspect = true;
            }
            self.give_back(key, None, store);
        }
        self.reorder(store);
        self.wake_one();
    }

    /// The member is dead: what it held stays with it until the lease ends.
    pub(crate) fn lose(&mut self, member: u64, store: &Store) {
        self.members.retain(|known| known.id != member);
        self.stop_waiting(member);
        self.reorder(store);
        self.pass_on();
    }

    fn held_by(&self, member: u64) -> Vec<Key> {
        let mut held: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.holder() == Some(member))
            .map(|(key, _)| key)
            .collect();
        held.sort_unstable();
        held
    }

    /// Keeps order when a member asks for it; what is held already then holds its lanes.
    fn reorder(&mut self, store: &Store) {
        // Once ordered it stays so while anything could still be out of order.
        let asked = self
            .members
            .iter()
            .any(|member| member.order == Order::PerKey);
        if asked == self.ordered || (self.members.is_empty() && self.ordered) {
            return;
        }
        self.ordered = asked;
        self.locks.clear();
        self.ready.clear();
        let mut lanes = Vec::new();
        for (_, slot) in self.slots.iter_mut() {
            let stored = store.get(slot.number);
            slot.lane = stored.filter(|_| asked).and_then(lane);
            if let (Some(lane), Some(_)) = (&slot.lane, slot.holder()) {
                self.locks.hold(lane);
            }
        }
        for (number, slot) in &self.back {
            let lane = store.get(*number).filter(|_| asked).and_then(lane);
            match lane {
                Some(lane) => {
                    self.locks.wait(&lane, *number);
                    lanes.push(lane);
                }
                None if is_ready(&self.slots, *slot) => {
                    self.ready.insert(*number);
                }
                None => {}
            }
        }
        for lane in lanes {
            self.turn(&lane);
        }
    }

    // Handing over

    /// Hands over up to `max` messages to `member`, or tells it what it lost.
    pub(crate) fn take(
        &mut self,
        member: u64,
        max: usize,
        now: Instant,
        store: &mut Store,
        logs: &Slab<Log>,
    ) -> Taken {
        self.stop_waiting(member);
        self.fire(now, store);
        let Some(index) = self.members.iter().position(|known| known.id == member) else {
            return Taken::Gone;
        };
        let lost = std::mem::take(&mut self.members[index].lost);
        if !lost.is_empty() {
            self.pass_on();
            return Taken::Lost(lost);
        }
        let until = later(now, self.members[index].lease);
        let share = self.share(max);
        let mut deliveries = Vec::with_capacity(share);
        while deliveries.len() < share {
            let Some((number, known)) = self.next_number(store) else {
                break;
            };
            let Some(stored) = store.get(number) else {
                continue;
            };
            let Some(log) = logs.get(stored.log) else {
                continue;
            };
            let mut delivery = Delivery {
                receipt: Receipt {
                    slot: number,
                    epoch: 0,
                },
                message: Arc::clone(&stored.message),
                position: Position::new(
                    Arc::clone(log.name()),
                    Offset(number, 0),
                    stored.stored_at,
                ),
                delivery: 1,
                redelivered: false,
                not_before: None,
                record: None,
                malformed: stored.malformed.clone(),
            };
            if self.is_durable() {
                let lane = if self.ordered { lane(stored) } else { None };
                self.hold(number, known, lane, member, until, &mut delivery);
            } else {
                store.settle(number);
            }
            deliveries.push(delivery);
        }
        if deliveries.is_empty() {
            return Taken::Nothing(self.wait(index, now));
        }
        self.pass_on();
        Taken::Deliveries(deliveries)
    }

    /// A fair part of what is there, when others wait for it too.
    fn share(&self, max: usize) -> usize {
        let there = usize::try_from(self.unsent)
            .unwrap_or(usize::MAX)
            .saturating_add(self.ready.len());
        there
            .div_ceil(self.waiters.len() + self.woken.len() + 1)
            .min(max)
    }

    /// What is next: what came back before what is new.
    fn next_number(&mut self, store: &Store) -> Option<(u64, Option<Key>)> {
        if let Some(number) = self.ready.pop_first() {
            let slot = self.back.remove(&number).flatten();
            if slot.is_none() {
                self.parked -= 1;
            }
            if let Some(lane) = self.lane_of(number, slot, store) {
                self.locks.stop_waiting(&lane, number);
                self.locks.hold(&lane);
            }
            return Some((number, slot));
        }
        while let Some(number) = self.feed.pop_front() {
            let Some(stored) = store.get(number) else {
                continue;
            };
            self.unsent -= 1;
            if self.ordered
                && let Some(lane) = lane(stored)
                && !self.locks.enter(&lane, number)
            {
                self.back.insert(number, None);
                self.parked += 1;
                continue;
            }
            return Some((number, None));
        }
        None
    }

    fn lane_of(&self, number: u64, slot: Option<Key>, store: &Store) -> Option<Lane> {
        match slot {
            Some(key) => self.slots.get(key)?.lane.clone(),
            None if self.ordered => lane(store.get(number)?),
            None => None,
        }
    }

    fn hold(
        &mut self,
        number: u64,
        known: Option<Key>,
        lane: Option<Lane>,
        member: u64,
        until: Instant,
        delivery: &mut Delivery,
    ) {
        self.epoch += 1;
        let epoch = self.epoch;
        let state = State::Held { member, until };
        let key = match known {
            Some(key) => key,
            None => self.slots.insert(Slot {
                number,
                epoch,
                state,
                deliveries: 0,
                suspect: number < self.suspect_below,
                record: None,
                lane,
            }),
        };
        if let Some(slot) = self.slots.get_mut(key) {
            slot.state = state;
            slot.epoch = epoch;
            slot.deliveries = slot.deliveries.saturating_add(1);
            delivery.delivery = slot.deliveries;
            delivery.redelivered = slot.suspect;
            delivery.record.clone_from(&slot.record);
        }
        delivery.receipt = Receipt {
            slot: key.to_raw(),
            epoch,
        };
        self.set_timer(key, until);
    }

    fn set_timer(&mut self, slot: Key, at: Instant) {
        self.timers.push(Timer { at, slot });
        let slots = &self.slots;
        self.timers
            .sweep(slots.len(), |timer| timer_holds(slots, timer));
    }

    /// Does what is due: ends leases, ends delays.
    fn fire(&mut self, now: Instant, store: &mut Store) {
        while let Some(timer) = self.timers.pop_due(now) {
            if !timer_holds(&self.slots, &timer) {
                continue;
            }
            let Some(slot) = self.slots.get_mut(timer.slot) else {
                continue;
            };
            match slot.state {
                State::Held { member, .. } => {
                    slot.suspect = true;
                    let receipt = Receipt {
                        slot: timer.slot.to_raw(),
                        epoch: slot.epoch,
                    };
                    self.tell_lost(member, receipt);
                    self.give_back(timer.slot, None, store);
                }
                State::Delayed(_) => {
                    slot.state = State::Ready;
                    let (number, lane) = (slot.number, slot.lane.clone());
                    self.delayed -= 1;
                    self.make_ready(number, lane);
                }
                State::Ready => {}
            }
        }
    }

    fn tell_lost(&mut self, member: u64, receipt: Receipt) {
        if let Some(member) = self.members.iter_mut().find(|known| known.id == member) {
            member.lost.push(receipt);
            member.wake.notify_one();
        }
    }

    fn make_ready(&mut self, number: u64, lane: Option<Lane>) {
        match lane {
            Some(lane) => self.turn(&lane),
            None => {
                self.ready.insert(number);
            }
        }
    }

    /// Lets the lane's next message be handed over, when it is one's turn.
    fn turn(&mut self, lane: &Lane) {
        if let Some(number) = self.locks.turn(lane)
            && let Some(slot) = self.back.get(&number)
            && is_ready(&self.slots, *slot)
        {
            self.ready.insert(number);
        }
    }

    // Settling

    /// The slot of a receipt that `member` holds.
    pub(crate) fn held(&mut self, member: u64, receipt: Receipt) -> Option<(Key, &mut Slot)> {
        let key = Key::from_raw(receipt.slot);
        let slot = self.slots.get_mut(key)?;
        (slot.epoch == receipt.epoch && slot.holder() == Some(member)).then_some((key, slot))
    }

    /// It is settled for good; returns its number.
    pub(crate) fn finish(&mut self, key: Key) -> Option<u64> {
        let slot = self.slots.remove(key)?;
        if matches!(slot.state, State::Delayed(_)) {
            self.delayed -= 1;
        }
        if let Some(lane) = &slot.lane {
            if slot.holder().is_some() {
                self.locks.release(lane);
            } else {
                self.locks.stop_waiting(lane, slot.number);
            }
            self.turn(lane);
            self.wake_one();
        }
        Some(slot.number)
    }

    /// It comes again, at once or not before `rest_until`, unless it is gone from the store by now.
    pub(crate) fn give_back(&mut self, key: Key, rest_until: Option<Instant>, store: &mut Store) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let number = slot.number;
        if !store.contains(number) {
            self.finish(key);
            self.count_dropped();
            return;
        }
        slot.state = rest_until.map_or(State::Ready, State::Delayed);
        let lane = slot.lane.clone();
        self.back.insert(number, Some(key));
        if let Some(lane) = &lane {
            self.locks.release(lane);
            self.locks.wait(lane, number);
        }
        match rest_until {
            Some(at) => {
                self.delayed += 1;
                self.set_timer(key, at);
                // Somebody who waits has to look again when it is due.
                self.wake_any();
            }
            None => {
                self.make_ready(number, lane);
                self.wake_one();
            }
        }
    }

    pub(crate) fn extend(&mut self, key: Key, until: Instant) {
        if let Some(slot) = self.slots.get_mut(key)
            && let State::Held { member, .. } = slot.state
        {
            slot.state = State::Held { member, until };
            self.set_timer(key, until);
        }
    }

    /// Retention removes a message; counts it when it was not settled.
    pub(crate) fn forget(&mut self, number: u64, stored: &Stored) {
        if self.feed.front() == Some(&number) {
            self.feed.pop_front();
            self.unsent -= 1;
            self.count_dropped();
        } else if let Some(slot) = self.back.remove(&number) {
            self.ready.remove(&number);
            match slot {
                Some(key) => {
                    self.finish(key);
                }
                None => {
                    self.parked -= 1;
                    if let Some(lane) = lane(stored) {
                        self.locks.stop_waiting(&lane, number);
                        self.turn(&lane);
                    }
                }
            }
            self.count_dropped();
        } else if self.feed.binary_search(&number).is_ok() {
            // It stays in the feed and is passed over.
            self.unsent -= 1;
            self.count_dropped();
        }
        // What a member holds is counted when it comes back unsettled.
    }

    fn count_dropped(&mut self) {
        self.dropped += 1;
        self.unreported += 1;
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

    // Waking

    /// The member waits; returns when it has to look again at the latest.
    fn wait(&mut self, index: usize, now: Instant) -> Option<Instant> {
        let member = &self.members[index];
        self.waiters
            .push_back((member.id, Arc::clone(&member.wake)));
        let slots = &self.slots;
        let due = self.timers.next(|timer| timer_holds(slots, timer));
        // Leases that others get meanwhile end no earlier than this, so that nobody needs to be woken
        // to hear of them. A member alone hears of them itself.
        let alone = self.members.len() == 1 && self.slots.is_empty();
        let shortest = self.members.iter().map(|member| member.lease).min();
        let sweep = shortest.filter(|_| !alone && self.is_durable());
        due.into_iter()
            .chain(sweep.map(|lease| later(now, lease)))
            .min()
    }

    /// The member waits no longer.
    fn stop_waiting(&mut self, member: u64) {
        self.woken.retain(|known| *known != member);
        self.waiters.retain(|(known, _)| *known != member);
    }

    /// The member gave up waiting: what it may have been woken for goes to another one.
    pub(crate) fn give_up_waiting(&mut self, member: u64) {
        self.stop_waiting(member);
        self.pass_on();
    }

    /// Wakes another member when there is more to hand over, or when somebody has to watch the delays.
    fn pass_on(&mut self) {
        if self.delayed > 0 {
            self.wake_any();
        } else {
            self.wake_one();
        }
    }

    /// Wakes who waited longest, when there is something to hand over.
    pub(crate) fn wake_one(&mut self) {
        if self.unsent > 0 || !self.ready.is_empty() {
            self.wake_any();
        }
    }

    fn wake_any(&mut self) {
        if let Some((member, wake)) = self.waiters.pop_front() {
            self.woken.push(member);
            wake.notify_one();
        }
    }

    /// Wakes everyone to look at what has changed around them.
    pub(crate) fn wake_all(&mut self) {
        self.waiters.clear();
        self.woken.clear();
        for member in &self.members {
            member.wake.notify_one();
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
