//! The recorder's book: what was published, what became of it, what is under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bus_api::{DeadLetter, Message, Pattern, Topic};
use tokio::sync::watch;

use super::outcome::Outcome;

/// What a [`TestBus`](super::TestBus) has recorded.
#[derive(Debug)]
pub(super) struct Book {
    entries: Mutex<Entries>,
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) published: Vec<Arc<Message>>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) dead_letters: Vec<DeadLetter>,
    /// Calls that have not returned yet.
    publishing: usize,
    /// Live broadcast subscriptions; the adapter keeps no account of what they have received.
    broadcasts: HashMap<u64, Broadcast>,
    next_broadcast: u64,
}

#[derive(Debug)]
struct Broadcast {
    pattern: Pattern,
    expected: u64,
    received: u64,
}

impl Book {
    pub(super) fn new() -> Self {
        Self {
            entries: Mutex::default(),
            version: watch::Sender::new(0),
        }
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Entries) -> T) -> T {
        read(&self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn write<T>(&self, write: impl FnOnce(&mut Entries) -> T) -> T {
        let result = write(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner));
        self.version
            .send_modify(|version| *version = version.wrapping_add(1));
        result
    }

    /// Tells of every later [`write`](Self::write).
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

impl Entries {
    /// A publish begins; every broadcast below the returned number will receive what it stores.
    pub(super) fn publishing(&mut self) -> u64 {
        self.publishing += 1;
        self.next_broadcast
    }

    pub(super) fn published(&mut self) {
        self.publishing = self.publishing.saturating_sub(1);
    }

    /// A message was stored; broadcasts that had joined when its publish began will receive it.
    pub(super) fn stored(&mut self, topic: &Topic, joined_below: u64) {
        for (id, broadcast) in &mut self.broadcasts {
            if *id < joined_below && broadcast.pattern.matches(topic) {
                broadcast.expected += 1;
            }
        }
    }

    pub(super) fn broadcast_joins(&mut self, pattern: Pattern) -> u64 {
        let id = self.next_broadcast;
        self.next_broadcast += 1;
        self.broadcasts.insert(
            id,
            Broadcast {
                pattern,
                expected: 0,
                received: 0,
            },
        );
        id
    }

    pub(super) fn broadcast_received(&mut self, id: u64, count: usize) {
        if let Some(broadcast) = self.broadcasts.get_mut(&id) {
            broadcast.received = broadcast.received.saturating_add(count as u64);
        }
    }

    pub(super) fn broadcast_leaves(&mut self, id: u64) {
        self.broadcasts.remove(&id);
    }

    /// Whether no call is under way and every broadcast has received what it will.
    pub(super) fn is_quiet(&self) -> bool {
        self.publishing == 0
            && self
                .broadcasts
                .values()
                .all(|broadcast| broadcast.received >= broadcast.expected)
    }
}
