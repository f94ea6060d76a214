//! Lanes: one message of a (topic, key) at a time, in received order.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use slab::Slab;

use crate::contract::Topic;

/// Which lane something is in; valid until everything in it has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LaneId(usize);

/// What runs and what waits, per (topic, key). Messages without a key never come here and cost nothing.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    ids: HashMap<(Topic, Bytes), usize>,
    lanes: Slab<Lane<T>>,
}

#[derive(Debug)]
struct Lane<T> {
    key: (Topic, Bytes),
    running: usize,
    waiting: VecDeque<T>,
}

impl<T> Lanes<T> {
    pub(super) fn new() -> Self {
        Self {
            ids: HashMap::new(),
            lanes: Slab::new(),
        }
    }

    /// Puts `item` in its lane. It comes back when it may run now; otherwise it waits there.
    pub(super) fn enter(&mut self, topic: &Topic, key: &Bytes, item: T) -> (LaneId, Option<T>) {
        let key = (topic.clone(), key.clone());
        if let Some(&id) = self.ids.get(&key) {
            if let Some(lane) = self.lanes.get_mut(id) {
                lane.waiting.push_back(item);
            }
            return (LaneId(id), None);
        }
        let id = self.lanes.insert(Lane {
            key: key.clone(),
            running: 1,
            waiting: VecDeque::new(),
        });
        self.ids.insert(key, id);
        (LaneId(id), Some(item))
    }

    /// One of what runs in the lane has left; the next one, if it may run now.
    pub(super) fn leave(&mut self, id: LaneId) -> Option<T> {
        let lane = self.lanes.get_mut(id.0)?;
        lane.running = lane.running.saturating_sub(1);
        if lane.running > 0 {
            return None;
        }
        if let Some(next) = lane.waiting.pop_front() {
            lane.running = 1;
            return Some(next);
        }
        let lane = self.lanes.remove(id.0);
        self.ids.remove(&lane.key);
        None
    }

    /// Takes the next waiting one to run together with what runs, if `wanted` says so.
    pub(super) fn follow(&mut self, id: LaneId, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        let lane = self.lanes.get_mut(id.0)?;
        if !wanted(lane.waiting.front()?) {
            return None;
        }
        lane.running += 1;
        lane.waiting.pop_front()
    }

    /// Takes out whatever waits and is `unwanted`.
    pub(super) fn take_waiting(&mut self, unwanted: impl Fn(&T) -> bool, out: &mut Vec<T>) {
        for (_, lane) in &mut self.lanes {
            for _ in 0..lane.waiting.len() {
                match lane.waiting.pop_front() {
                    Some(item) if unwanted(&item) => out.push(item),
                    Some(item) => lane.waiting.push_back(item),
                    None => break,
                }
            }
        }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.lanes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(lanes: &mut Lanes<u32>, key: &'static str, item: u32) -> (LaneId, Option<u32>) {
        let topic = Topic::new("a").unwrap();
        lanes.enter(&topic, &Bytes::from_static(key.as_bytes()), item)
    }

    #[test]
    fn one_of_a_key_runs_at_a_time_in_order() {
        let mut lanes = Lanes::new();
        let (id, first) = enter(&mut lanes, "k", 1);
        assert_eq!(first, Some(1));
        assert_eq!(enter(&mut lanes, "k", 2), (id, None));
        assert_eq!(enter(&mut lanes, "k", 3), (id, None));
        assert_eq!(enter(&mut lanes, "other", 4).1, Some(4));
        assert_eq!(lanes.leave(id), Some(2));
        assert_eq!(lanes.leave(id), Some(3));
        assert_eq!(lanes.leave(id), None);
    }

    #[test]
    fn the_same_key_of_another_topic_is_another_lane() {
        let mut lanes = Lanes::new();
        let key = Bytes::from_static(b"k");
        assert!(lanes.enter(&Topic::new("a").unwrap(), &key, 1).1.is_some());
        assert!(lanes.enter(&Topic::new("b").unwrap(), &key, 2).1.is_some());
    }

    #[test]
    fn followers_run_together_and_the_lane_is_free_when_all_have_left() {
        let mut lanes = Lanes::new();
        let (id, _) = enter(&mut lanes, "k", 1);
        for item in 2..=4 {
            enter(&mut lanes, "k", item);
        }
        assert_eq!(lanes.follow(id, |_| false), None);
        assert_eq!(lanes.follow(id, |_| true), Some(2));
        assert_eq!(lanes.leave(id), None);
        assert_eq!(lanes.leave(id), Some(3));
        assert_eq!(lanes.leave(id), Some(4));
        assert_eq!(lanes.leave(id), None);
        assert!(lanes.is_empty());
    }

    #[test]
    fn what_waits_can_be_taken_out_and_the_rest_keeps_its_order() {
        let mut lanes = Lanes::new();
        let (id, _) = enter(&mut lanes, "k", 1);
        for item in 2..=5 {
            enter(&mut lanes, "k", item);
        }
        let mut out = Vec::new();
        lanes.take_waiting(|item| item % 2 == 0, &mut out);
        assert_eq!(out, [2, 4]);
        assert_eq!(lanes.leave(id), Some(3));
        assert_eq!(lanes.leave(id), Some(5));
    }
}
