//! The reference: what a bus is, without any of its difficulties.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::model::program::{SUBSCRIPTIONS, TOPICS};
use crate::outcome::Violation;

/// Attempts that every subscription of a program allows.
pub(super) const ATTEMPTS: u32 = 3;

/// A stored message.
#[derive(Clone, Debug)]
struct Stored {
    number: u64,
    topic: usize,
    /// A redriven copy: for whom, and how often it was redriven.
    copy: Option<(usize, u32)>,
}

/// Where a message stands in a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Waiting,
    Held { slot: usize },
    Settled,
}

/// A message in a subscription.
#[derive(Clone, Debug)]
struct Entry {
    number: u64,
    generation: u32,
    stand: Stand,
    /// Failures that were recorded for certain.
    failures: u32,
    /// Deaths of members that may have been recorded beyond these.
    deaths: u32,
    not_before: Option<Instant>,
    /// The member that dropped it last, and the attempt: nobody waited for the record of that failure, so
    /// that it may die with the member.
    dropped: Option<(usize, u32)>,
}

impl Entry {
    /// Whether it may have been given up because members died of it.
    fn may_be_dead(&self) -> bool {
        self.stand == Stand::Waiting && 1 + self.failures + self.deaths > ATTEMPTS
    }
}

/// A message that was given up: its number, and how often it had been redriven.
pub(super) type Grave = (u64, u32);

#[derive(Clone, Debug, Default)]
struct Subscription {
    entries: Vec<Entry>,
    dead: BTreeSet<Grave>,
    /// Redriven before: a second copy is not stored where the bus has dedup.
    redriven: BTreeSet<Grave>,
    crashes: u32,
}

/// What a delivery is to the reference: which entry of which subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    subscription: usize,
    index: usize,
    attempt: u32,
}

/// The reference: logs, and subscriptions with what they have settled.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    dedup: bool,
    log: Vec<Stored>,
    subscriptions: [Option<Subscription>; SUBSCRIPTIONS.len()],
    next: u64,
}

fn takes(subscription: usize, topic: usize) -> bool {
    match SUBSCRIPTIONS[subscription].1 {
        ">" | "*" => true,
        exact => exact == TOPICS[topic],
    }
}

impl Stored {
    fn concerns(&self, subscription: usize) -> bool {
        takes(subscription, self.topic) && self.copy.is_none_or(|(to, _)| to == subscription)
    }

    fn entry(&self) -> Entry {
        Entry {
            number: self.number,
            generation: self.copy.map_or(0, |(_, generation)| generation),
            stand: Stand::Waiting,
            failures: 0,
            deaths: 0,
            not_before: None,
            dropped: None,
        }
    }
}

impl Reference {
    pub(super) fn new(dedup: bool) -> Self {
        Self {
            dedup,
            log: Vec::new(),
            subscriptions: Default::default(),
            next: 0,
        }
    }

    /// The number of the next message, which is stored with it.
    pub(super) fn publish(&mut self, topic: usize) -> u64 {
        let number = self.next;
        self.next += 1;
        self.store(Stored {
            number,
            topic,
            copy: None,
        });
        number
    }

    fn store(&mut self, stored: Stored) {
        for (index, subscription) in self.subscriptions.iter_mut().enumerate() {
            if let Some(subscription) = subscription
                && stored.concerns(index)
            {
                subscription.entries.push(stored.entry());
            }
        }
        self.log.push(stored);
    }

    /// A member joins; the first one makes the subscription, from the first message on.
    pub(super) fn join(&mut self, subscription: usize) {
        if self.subscriptions[subscription].is_none() {
            self.subscriptions[subscription] = Some(Subscription {
                entries: self.all(subscription),
                ..Subscription::default()
            });
        }
    }

    fn all(&self, subscription: usize) -> Vec<Entry> {
        self.log
            .iter()
            .filter(|stored| stored.concerns(subscription))
            .map(Stored::entry)
            .collect()
    }

    pub(super) fn exists(&self, subscription: usize) -> bool {
        self.subscriptions[subscription].is_some()
    }

    fn of(&mut self, subscription: usize) -> &mut Subscription {
        self.subscriptions[subscription].get_or_insert_default()
    }

    /// A member got a delivery: which one it is, or why it must not be.
    pub(super) fn deliver(
        &mut self,
        subscription: usize,
        slot: usize,
        number: u64,
        attempt: u32,
    ) -> Result<Handle, Violation> {
        let now = Instant::now();
        let entries = &mut self.of(subscription).entries;
        let fits = |entry: &Entry| {
            let least = 1 + entry.failures;
            entry.number == number
                && entry.stand == Stand::Waiting
                && (least..=least + entry.deaths).contains(&attempt)
                // Clocks of brokers count whole milliseconds.
                && entry.not_before.is_none_or(|from| now + std::time::Duration::from_millis(2) >= from)
        };
        match entries.iter().position(fits) {
            Some(index) => {
                (entries[index].stand, entries[index].dropped) = (Stand::Held { slot }, None);
                Ok(Handle {
                    subscription,
                    index,
                    attempt,
                })
            }
            None => {
                let known: Vec<&Entry> = entries
                    .iter()
                    .filter(|entry| entry.number == number)
                    .collect();
                Err(Violation::new(format_args!(
                    "{:?} handed number {number}, attempt {attempt}, to member {slot}; the reference knows it as {known:?}",
                    SUBSCRIPTIONS[subscription],
                )))
            }
        }
    }

    fn entry(&mut self, handle: Handle) -> &mut Entry {
        &mut self.of(handle.subscription).entries[handle.index]
    }

    pub(super) fn ack(&mut self, handle: Handle) {
        self.entry(handle).stand = Stand::Settled;
    }

    /// The attempt failed; it comes again, not before `not_before`, or was the last one.
    pub(super) fn fail(&mut self, handle: Handle, not_before: Option<Instant>) {
        let entry = self.entry(handle);
        (entry.failures, entry.deaths) = (handle.attempt, 0);
        if handle.attempt < ATTEMPTS {
            (entry.stand, entry.not_before) = (Stand::Waiting, not_before);
            return;
        }
        entry.stand = Stand::Settled;
        let grave = (entry.number, entry.generation);
        self.of(handle.subscription).dead.insert(grave);
    }

    /// A member dropped it: a failure that is recorded while nobody waits for it.
    pub(super) fn dropped(&mut self, handle: Handle, slot: usize) {
        self.fail(handle, None);
        self.entry(handle).dropped = Some((slot, handle.attempt));
    }

    /// A member's process died with what it held. Who dies of a second death may have marked what it only
    /// fetched: a stream marks what it fetched in one go.
    pub(super) fn crash(&mut self, subscription: usize, slot: usize) {
        let subscription = self.of(subscription);
        let marked = subscription.crashes > 0;
        subscription.crashes += 1;
        for entry in &mut subscription.entries {
            if let Some((holder, attempt)) = entry.dropped
                && holder == slot
            {
                // The failure is recorded, the last one as a dead letter, or none of it.
                subscription.dead.remove(&(entry.number, entry.generation));
                (entry.stand, entry.failures) = (Stand::Waiting, attempt - 1);
                (entry.deaths, entry.dropped) = (1, None);
            }
            match entry.stand {
                Stand::Held { slot: holder } if holder == slot => {
                    (entry.stand, entry.not_before) = (Stand::Waiting, None);
                    entry.deaths += 1;
                }
                Stand::Waiting if marked => entry.deaths += 1,
                _ => {}
            }
        }
    }

    /// What a subscription has given up for certain.
    pub(super) fn dead(&self, subscription: usize) -> BTreeSet<Grave> {
        self.subscriptions[subscription]
            .as_ref()
            .map(|subscription| subscription.dead.clone())
            .unwrap_or_default()
    }

    /// Takes note of what the bus lists as given up.
    pub(super) fn agree(&mut self, subscription: usize, listed: &[Grave]) -> Result<(), Violation> {
        let unique: BTreeSet<Grave> = listed.iter().copied().collect();
        let books = self.of(subscription);
        for grave in &unique {
            if books.dead.contains(grave) {
                continue;
            }
            let died = books
                .entries
                .iter_mut()
                .find(|entry| (entry.number, entry.generation) == *grave && entry.may_be_dead());
            match died {
                Some(entry) => {
                    entry.stand = Stand::Settled;
                    books.dead.insert(*grave);
                }
                None => {
                    return Err(Violation::new(format_args!(
                        "{:?} gave up {grave:?} (number, redrives), which has not failed so often",
                        SUBSCRIPTIONS[subscription],
                    )));
                }
            }
        }
        if unique != books.dead || unique.len() != listed.len() {
            return Err(Violation::new(format_args!(
                "{:?} lists {listed:?} (number, redrives) as given up; the reference has {:?}",
                SUBSCRIPTIONS[subscription], books.dead
            )));
        }
        Ok(())
    }

    /// Everything that a subscription has given up comes again to it, and to no other.
    pub(super) fn redrive(&mut self, subscription: usize) {
        let dedup = self.dedup;
        let books = self.of(subscription);
        let dead = std::mem::take(&mut books.dead);
        let copies: Vec<Grave> = dead
            .into_iter()
            .filter(|grave| books.redriven.insert(*grave) || !dedup)
            .collect();
        for (number, generation) in copies {
            let Some(first) = self.log.iter().find(|stored| stored.number == number) else {
                continue;
            };
            self.store(Stored {
                number,
                topic: first.topic,
                copy: Some((subscription, generation + 1)),
            });
        }
    }

    pub(super) fn reset(&mut self, subscription: usize, earliest: bool) {
        let entries = if earliest {
            self.all(subscription)
        } else {
            Vec::new()
        };
        self.of(subscription).entries = entries;
    }

    /// Numbers that a subscription still has to hand over, each as often as it has to.
    pub(super) fn owed(&self, subscription: usize) -> Vec<u64> {
        self.open(subscription)
            .filter(|entry| !entry.may_be_dead())
            .map(|entry| entry.number)
            .collect()
    }

    /// Whether a subscription may still hand something over, or give it up.
    pub(super) fn is_open(&self, subscription: usize) -> bool {
        self.open(subscription).next().is_some()
    }

    fn open(&self, subscription: usize) -> impl Iterator<Item = &Entry> {
        self.subscriptions[subscription]
            .iter()
            .flat_map(|subscription| &subscription.entries)
            .filter(|entry| entry.stand != Stand::Settled)
    }

    /// What a subscription of all topics that nobody has seen yet would get: each number once.
    pub(super) fn published(&self) -> BTreeMap<u64, u32> {
        (0..self.next).map(|number| (number, 1)).collect()
    }
}
