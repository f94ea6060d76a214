//! Deliveries that rest inside the member until their time has come.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use tokio::time::Instant;

use super::entry::Entry;
use super::table::Slot;

/// Deliveries that rest: failures that are tried again in place, and keys that were told to rest.
#[derive(Debug, Default)]
pub(super) struct Parked {
    entries: HashMap<Slot, (Instant, Entry)>,
    /// Those whose record is stored, by their time; may hold leftovers of entries taken out.
    due: BinaryHeap<Reverse<(Instant, Slot)>>,
}

impl Parked {
    /// Parks `entry` until `at`, or longer: until [`stored`](Self::stored) is called.
    pub(super) fn insert(&mut self, entry: Entry, at: Instant) {
        self.entries.insert(entry.slot, (at, entry));
    }

    /// What was to be stored before the entry runs again is stored.
    pub(super) fn stored(&mut self, slot: Slot) {
        if let Some((at, _)) = self.entries.get(&slot) {
            self.due.push(Reverse((*at, slot)));
        }
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out one whose time has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Entry> {
        while self.next_due()? <= now {
            let Reverse((at, slot)) = self.due.pop()?;
            if self.entries.get(&slot).is_some_and(|(due, _)| *due == at) {
                return self.entries.remove(&slot).map(|(_, entry)| entry);
            }
        }
        None
    }

    /// Takes out one.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Entry> {
        self.entries.remove(&slot).map(|(_, entry)| entry)
    }

    /// Takes out all that are `unwanted`, with their times.
    pub(super) fn take(&mut self, unwanted: impl Fn(&Entry) -> bool) -> Vec<(Instant, Entry)> {
        let slots: Vec<Slot> = self
            .entries
            .values()
            .filter(|(_, entry)| unwanted(entry))
            .map(|(_, entry)| entry.slot)
            .collect();
        slots
            .into_iter()
            .filter_map(|slot| self.entries.remove(&slot))
            .collect()
    }
}
