//! What becomes of what was handed over.

use bus_api::Receipt;
use tokio::time::Instant;

use super::{Subscription, lane};
use crate::slab::Key;
use crate::slot::{Slot, State};
use crate::store::{Store, Stored};

impl Subscription {
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
}
