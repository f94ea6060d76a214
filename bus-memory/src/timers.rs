//! When leases end and delays pass, without a task or a timer per message.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

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
pub(crate) struct Timers(BinaryHeap<Reverse<Timer>>);

impl Timers {
    /// Stale moments that are not worth a sweep.
    const SLACK: usize = 64;

    pub(crate) fn push(&mut self, timer: Timer) {
        self.0.push(Reverse(timer));
    }

    /// The earliest moment that `holds`.
    pub(crate) fn next(&mut self, holds: impl Fn(&Timer) -> bool) -> Option<Instant> {
        while let Some(Reverse(timer)) = self.0.peek() {
            if holds(timer) {
                return Some(timer.at);
            }
            self.0.pop();
        }
        None
    }

    /// Takes the earliest moment that is not after `now`, stale or not.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let Reverse(timer) = self.0.peek()?;
        if timer.at > now {
            return None;
        }
        self.0.pop().map(|Reverse(timer)| timer)
    }

    /// Drops stale moments when there are more of them than of the `live` ones.
    pub(crate) fn sweep(&mut self, live: usize, holds: impl Fn(&Timer) -> bool) {
        if self.0.len() > 2 * live + Self::SLACK {
            self.0.retain(|Reverse(timer)| holds(timer));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
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
        assert_eq!(timers.0.len(), 200);
        timers.sweep(1, |timer| timer.slot == first || timer.slot == live);
        assert_eq!(timers.0.len(), 2);
        let holds = |timer: &Timer| timer.slot == live;
        assert_eq!(timers.next(holds), Some(now + Duration::from_secs(150)));
        assert_eq!(timers.pop_due(now), None);
        let due = timers.pop_due(now + Duration::from_secs(150));
        assert_eq!(due.map(|timer| timer.slot), Some(live));
    }
}
