//! Who takes part in a subscription, and who of them is woken.

use std::sync::Arc;

use bus_api::{Order, Receipt};
use tokio::time::Instant;

use super::{Member, Subscription, is_ready, lane, timer_holds};
use crate::clock::later;
use crate::slab::Key;
use crate::store::Store;

impl Subscription {
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

    /// The member waits; returns when it has to look again at the latest.
    pub(super) fn wait(&mut self, index: usize, now: Instant) -> Option<Instant> {
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
    pub(super) fn stop_waiting(&mut self, member: u64) {
        self.woken.retain(|known| *known != member);
        self.waiters.retain(|(known, _)| *known != member);
    }

    /// The member gave up waiting: what it may have been woken for goes to another one.
    pub(crate) fn give_up_waiting(&mut self, member: u64) {
        self.stop_waiting(member);
        self.pass_on();
    }

    /// What a member lost and was not told yet.
    pub(crate) fn take_lost(&mut self, member: u64) -> Vec<Receipt> {
        let known = self.members.iter_mut().find(|known| known.id == member);
        known
            .map(|member| std::mem::take(&mut member.lost))
            .unwrap_or_default()
    }

    /// Wakes another member when there is more to hand over, or when somebody has to watch the delays.
    pub(super) fn pass_on(&mut self) {
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

    pub(super) fn wake_any(&mut self) {
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
