//! The way of a delivery from its receipt to its hand-over: lane, rest, quarantine, ready.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::entry::Entry;
use super::lanes::{LaneId, Lanes};
use super::parked::Parked;
use super::table::Slot;

/// Everything that was received and not handed over yet.
#[derive(Debug)]
pub(super) struct Flow {
    lanes: Lanes<Entry>,
    ready: VecDeque<Entry>,
    quarantine: Option<Quarantine>,
    parked: Parked,
}

/// Suspects run one at a time, from their hand-over until their settling is confirmed: only then can no
/// later crash of another be taken for theirs.
#[derive(Debug, Default)]
struct Quarantine {
    running: Option<Slot>,
    waiting: VecDeque<Entry>,
}

impl Flow {
    pub(super) fn new(quarantine: bool) -> Self {
        Self {
            lanes: Lanes::new(),
            ready: VecDeque::new(),
            quarantine: quarantine.then(Quarantine::default),
            parked: Parked::default(),
        }
    }

    /// Whether something can be handed over now.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When something that rests may run again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.parked.next_due()
    }

    /// A new delivery.
    pub(super) fn enter(&mut self, entry: Entry) {
        let Some(key) = entry.message.key.clone() else {
            return self.begin(entry);
        };
        let topic = entry.message.topic.clone();
        if let (lane, Some(mut entry)) = self.lanes.enter(&topic, &key, entry) {
            entry.lane = Some(lane);
            self.begin(entry);
        }
    }

    /// It is its key's turn.
    fn begin(&mut self, mut entry: Entry) {
        match entry.take_not_before() {
            Some(at) => {
                let slot = entry.slot;
                self.parked.insert(entry, at);
                self.parked.stored(slot);
            }
            None => self.pass(entry),
        }
    }

    /// Only the quarantine may still be in its way.
    fn pass(&mut self, entry: Entry) {
        match &mut self.quarantine {
            Some(quarantine) if entry.suspect => {
                if quarantine.running.is_some() {
                    quarantine.waiting.push_back(entry);
                } else {
                    quarantine.running = Some(entry.slot);
                    self.ready.push_back(entry);
                }
            }
            _ => self.ready.push_back(entry),
        }
    }

    /// Takes up to `max` that are ready; with `followers` also what waits in their lanes, in order.
    pub(super) fn take(&mut self, max: usize, followers: bool, mut give: impl FnMut(Entry)) {
        let quarantine = self.quarantine.is_some();
        let mut left = max;
        while left > 0
            && let Some(entry) = self.ready.pop_front()
        {
            let lane = entry.lane.filter(|_| followers);
            give(entry);
            left -= 1;
            let Some(lane) = lane else { continue };
            let free = |next: &Entry| next.not_before().is_none() && !(quarantine && next.suspect);
            while left > 0
                && let Some(mut next) = self.lanes.follow(lane, free)
            {
                next.lane = Some(lane);
                give(next);
                left -= 1;
            }
        }
    }

    /// Wakes what rests and whose time has come.
    pub(super) fn wake_due(&mut self, now: Instant) {
        while let Some(entry) = self.parked.pop(now) {
            self.pass(entry);
        }
    }

    /// Parks what was handed over and came back; its lane stays its own.
    pub(super) fn park(&mut self, entry: Entry, at: Instant) {
        self.parked.insert(entry, at);
    }

    /// What a parked one has to store before it runs again is stored.
    pub(super) fn stored(&mut self, slot: Slot) {
        self.parked.stored(slot);
        self.confirmed(slot);
    }

    /// Takes out a parked one.
    pub(super) fn unpark(&mut self, slot: Slot) -> Option<Entry> {
        self.parked.remove(slot)
    }

    /// Something that had its lane's turn is gone: the next one begins.
    pub(super) fn leave_lane(&mut self, lane: Option<LaneId>) {
        let Some(lane) = lane else { return };
        if let Some(mut next) = self.lanes.leave(lane) {
            next.lane = Some(lane);
            self.begin(next);
        }
    }

    /// The broker knows the end of this one: the next suspect may run.
    pub(super) fn confirmed(&mut self, slot: Slot) {
        let Some(quarantine) = &mut self.quarantine else {
            return;
        };
        if quarantine.running != Some(slot) {
            return;
        }
        quarantine.running = quarantine.waiting.front().map(|next| next.slot);
        if let Some(next) = quarantine.waiting.pop_front() {
            self.ready.push_back(next);
        }
    }

    /// Takes out all that are `unwanted`; those that rest with the time until which they would have.
    ///
    /// Lanes and quarantine of what is taken out are left by the caller, once for each.
    pub(super) fn remove(
        &mut self,
        unwanted: impl Fn(&Entry) -> bool,
    ) -> Vec<(Option<Instant>, Entry)> {
        let mut out = Vec::new();
        take_from(&mut self.ready, &unwanted, &mut out);
        if let Some(quarantine) = &mut self.quarantine {
            take_from(&mut quarantine.waiting, &unwanted, &mut out);
        }
        self.lanes.take_waiting(&unwanted, &mut out);
        let parked = self.parked.take(&unwanted);
        let waiting = out.into_iter().map(|entry| (entry.not_before(), entry));
        waiting
            .chain(parked.into_iter().map(|(at, entry)| (Some(at), entry)))
            .collect()
    }
}

fn take_from(queue: &mut VecDeque<Entry>, unwanted: impl Fn(&Entry) -> bool, out: &mut Vec<Entry>) {
    for _ in 0..queue.len() {
        match queue.pop_front() {
            Some(entry) if unwanted(&entry) => out.push(entry),
            Some(entry) => queue.push_back(entry),
            None => break,
        }
    }
}

#[cfg(test)]
mod tests;
