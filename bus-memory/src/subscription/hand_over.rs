//! Who gets which message when.

use std::sync::Arc;

use bus_api::{Delivery, Offset, Position, Receipt};
use tokio::time::Instant;

use super::{Subscription, Taken, is_ready, lane, timer_holds};
use crate::clock::later;
use crate::key_locks::Lane;
use crate::log::Log;
use crate::slab::{Key, Slab};
use crate::slot::{Slot, State};
use crate::store::Store;
use crate::timers::Timer;

impl Subscription {
    /// Hands over up to `max` messages to `member`, or tells it what it lost; with `max` 0 only this.
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
        if max == 0 {
            // It waits for news only: what it may have been woken for goes to another one.
            self.pass_on();
            return Taken::Nothing(None);
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

    pub(super) fn set_timer(&mut self, slot: Key, at: Instant) {
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

    pub(super) fn tell_lost(&mut self, member: u64, receipt: Receipt) {
        if let Some(member) = self.members.iter_mut().find(|known| known.id == member) {
            member.lost.push(receipt);
            member.wake.notify_one();
        }
    }

    pub(super) fn make_ready(&mut self, number: u64, lane: Option<Lane>) {
        match lane {
            Some(lane) => self.turn(&lane),
            None => {
                self.ready.insert(number);
            }
        }
    }

    /// Lets the lane's next message be handed over, when it is one's turn.
    pub(super) fn turn(&mut self, lane: &Lane) {
        if let Some(number) = self.locks.turn(lane)
            && let Some(slot) = self.back.get(&number)
            && is_ready(&self.slots, *slot)
        {
            self.ready.insert(number);
        }
    }
}
