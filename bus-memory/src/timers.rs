//! When leases end and delays pass, without a task or a timer per message.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use tokio::time::Instant;

use crate::slab::Key;

/// A moment at which something may happen to a slot; whether it still may, the slot knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    pub(crate) at: Instant,
    pub(crate) slot: Key,
}

/// The moments of one subscription, earliest first. Looked at when a member receives; a slot that is
/// settled earlier leaves its moment behind, to be swept when too many are stale.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// Those that came in order, as leases of one length do: each is behind the one before.
    queue: VecDeque<Timer>,
    /// All others.
    heap: BinaryHeap<Reverse<Timer>>,
}

impl Timers {
    /// Stale moments that are not worth a sweep.
    const SLACK: usize = 64;

    pub(crate) fn push(&mut self, timer: Timer) {
        if self.queue.back().is_none_or(|last| last.at <= timer.at) {
            self.queue.push_back(timer);
        } else {
            self.heap.push(Reverse(timer));
        }
    }

    /// The earliest moment that `holds`.
    pub(crate) fn next(&mut self, holds: impl Fn(&Timer) -> bool) -> Option<Instant> {
        while let Some(timer) = self.first() {
            if holds(&timer) {
                return Some(timer.at);
            }
            self.pop(&timer);
        }
        None
    }

    /// Takes the earliest moment that is not after `now`, stale or not.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let timer = self.first().filter(|timer| timer.at <= now)?;
        self.pop(&timer);
        Some(timer)
    }

    fn first(&self) -> Option<Timer> {
        let queued = self.queue.front();
        match (queued, self.heap.peek()) {
            (Some(queued), Some(Reverse(other))) if other.at < queued.at => Some(*other),
            (None, Some(Reverse(other))) => Some(*other),
            (queued, _) => queued.copied(),
        }
    }

    /// Removes the [`first`](Self::first).
    fn pop(&mut self, first: &Timer) {
        if self.queue.front() == Some(first) {
            self.queue.pop_front();
        } else {
            self.heap.pop();
        }
    }

    fn len(&self) -> usize {
        self.queue.len() + self.heap.len()
    }

    /// Drops stale moments when there are more of them than of the `live` ones.
    pub(crate) fn sweep(&mut self, live: usize, holds: impl Fn(&Timer) -> bool) {
        if self.len() > 2 * live + Self::SLACK {
            self.queue.retain(&holds);
            self.heap.retain(|Reverse(timer)| holds(timer));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.heap.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::slab::Slab;

    #[test]
    fn stale_moments_are_passed_over_and_swept() {
        let now = Instant::now();
        let mut slab = Slab::default();
        let slots: Vec<_> = (0..200).map(|_| slab.insert(())).collect();
        let mut timers = Timers::default();
        for (index, slot) in (0..).zip(&slots) {
            timers.push(Timer {
                at: now + Duration::from_secs(200 - index),
                slot: *slot,
            });
        }
        let (first, live) = (slots[0], slots[50]);
        timers.sweep(100, |_| false);
        assert_eq!(timers.len(), 200);
        timers.sweep(1, |timer| timer.slot == first || timer.slot == live);
        assert_eq!(timers.len(), 2);
        let holds = |timer: &Timer| timer.slot == live;
        assert_eq!(timers.next(holds), Some(now + Duration::from_secs(150)));
        assert_eq!(timers.pop_due(now), None);
        let due = timers.pop_due(now + Duration::from_secs(150));
        assert_eq!(due.map(|timer| timer.slot), Some(live));
    }
    #[test]
    fn moments_come_in_order_however_they_were_told() {
        let now = Instant::now();
        let mut slab = Slab::default();
        let mut timers = Timers::default();
        for seconds in [3, 5, 1, 4, 5, 2, 6, 1] {
            timers.push(Timer {
                at: now + Duration::from_secs(seconds),
                slot: slab.insert(()),
            });
        }
        let end = now + Duration::from_secs(5);
        let due = std::iter::from_fn(|| timers.pop_due(end));
        let seconds: Vec<_> = due.map(|timer| (timer.at - now).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 2, 3, 4, 5, 5]);
        assert_eq!(timers.len(), 1);
    }
}
