//! The order per key across members.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use crate::slab::Key;

/// What is kept in order: the messages of one log with one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    pub(crate) log: Key,
    pub(crate) key: Bytes,
}

/// The lanes of a subscription that have unsettled messages which it has looked at.
///
/// A lane hands out its earliest message and waits until it is settled: so no member starts a message
/// while an earlier one of its key is held, delayed or on its way back.
#[derive(Debug, Default)]
pub(crate) struct KeyLocks(HashMap<Lane, State>);

#[derive(Debug, Default)]
struct State {
    /// Messages that a member holds. More than one only when the subscription became ordered late.
    held: usize,
    /// Messages that wait: for the held one, or for their delay to pass.
    waiting: BTreeSet<u64>,
}

impl KeyLocks {
    /// Takes the lane for a message that was never handed over; otherwise the message waits in it.
    pub(crate) fn enter(&mut self, lane: &Lane, number: u64) -> bool {
        match self.0.get_mut(lane) {
            None => {
                self.hold(lane);
                true
            }
            Some(state) => {
                state.waiting.insert(number);
                false
            }
        }
    }

    /// One more message of the lane is held.
    pub(crate) fn hold(&mut self, lane: &Lane) {
        self.0.entry(lane.clone()).or_default().held += 1;
    }

    /// A message waits in the lane.
    pub(crate) fn wait(&mut self, lane: &Lane, number: u64) {
        self.0
            .entry(lane.clone())
            .or_default()
            .waiting
            .insert(number);
    }

    /// A message that waited is handed over, or is gone.
    pub(crate) fn stop_waiting(&mut self, lane: &Lane, number: u64) {
        if let Some(state) = self.0.get_mut(lane) {
            state.waiting.remove(&number);
        }
    }

    /// A message that was held is settled or comes back.
    pub(crate) fn release(&mut self, lane: &Lane) {
        if let Some(state) = self.0.get_mut(lane) {
            state.held = state.held.saturating_sub(1);
        }
    }

    /// The message of the lane whose turn it is, unless one is held; forgets an empty lane.
    pub(crate) fn turn(&mut self, lane: &Lane) -> Option<u64> {
        let state = self.0.get(lane)?;
        if state.held > 0 {
            return None;
        }
        let first = state.waiting.first().copied();
        if first.is_none() {
            self.0.remove(lane);
        }
        first
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;

    #[test]
    fn a_lane_hands_out_one_at_a_time_in_order() {
        let lane = Lane {
            log: Slab::default().insert(()),
            key: Bytes::from_static(b"k"),
        };
        let mut locks = KeyLocks::default();
        assert!(locks.enter(&lane, 1));
        assert!(!locks.enter(&lane, 2));
        assert!(!locks.enter(&lane, 3));
        assert_eq!(locks.turn(&lane), None);
        // The first one comes back: its turn is before that of the others.
        locks.release(&lane);
        locks.wait(&lane, 1);
        assert_eq!(locks.turn(&lane), Some(1));
        locks.stop_waiting(&lane, 1);
        locks.hold(&lane);
        assert_eq!(locks.turn(&lane), None);
        locks.release(&lane);
        assert_eq!(locks.turn(&lane), Some(2));
        locks.stop_waiting(&lane, 2);
        locks.stop_waiting(&lane, 3);
        assert_eq!(locks.turn(&lane), None);
        assert!(locks.0.is_empty());
    }
}
