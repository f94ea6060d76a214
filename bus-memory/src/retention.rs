//! How long a namespace keeps messages, and what happens at its limits.

use std::collections::BTreeMap;
use std::time::Duration;

use bus_api::{Error, Notice, Result, WhenFull};
use tokio::time::Instant;

use crate::clock::later;
use crate::error::full;
use crate::state::State;

/// What a message takes beside key, headers and payload: itself, its place in the store and in the
/// subscriptions; measured, rounded up.
pub(crate) const OVERHEAD: u64 = 640;

const MEMORY: &str = "memory_limit";
const MEMORY_ADVICE: &str = ", let subscriptions catch up, or remove dead letters";

impl State {
    /// Removes what is older than the namespace keeps messages.
    pub(crate) fn expire(&mut self, now: Instant) {
        // Asked with each call: nothing gets older faster than the clock runs.
        if self.expires_next.is_some_and(|next| now < next) {
            return;
        }
        while let Some(number) = self.store.oldest() {
            let stored_at = self.store.get(number).map_or(now, |stored| stored.at);
            if now.duration_since(stored_at) < self.retention.age {
                self.expires_next = Some(later(stored_at, self.retention.age));
                return;
            }
            self.drop_message(number);
        }
        self.expires_next = None;
    }

    /// Makes sure that a message of this size can be stored.
    ///
    /// # Errors
    /// `Throttled`, naming the key to raise.
    pub(crate) fn make_room(&mut self, size: usize) -> Result<()> {
        let size = size as u64;
        // A message larger than the whole bound is refused, whatever could be dropped.
        if self.retention.bytes.is_some_and(|most| size > most) {
            return Err(full("retention.bytes", ""));
        }
        if self.retention.count == Some(0) {
            return Err(full("retention.count", ""));
        }
        while let Some(key) = self.reached(size) {
            if self.retention.when_full == WhenFull::Reject {
                return Err(full(key, ""));
            }
            match self.store.oldest() {
                Some(number) => self.drop_message(number),
                None => return Err(full(key, "")),
            }
        }
        if self.memory().saturating_add(size + OVERHEAD) > self.memory_limit {
            self.evict_settled();
        }
        while self.memory().saturating_add(size + OVERHEAD) > self.memory_limit {
            if self.retention.when_full == WhenFull::Reject {
                return Err(full(MEMORY, MEMORY_ADVICE));
            }
            match self.store.oldest() {
                Some(number) => self.drop_message(number),
                None => return Err(full(MEMORY, MEMORY_ADVICE)),
            }
        }
        Ok(())
    }

    /// The retention key whose limit one more message would pass.
    fn reached(&self, size: u64) -> Option<&'static str> {
        let retention = &self.retention;
        if retention
            .bytes
            .is_some_and(|most| self.store.bytes().saturating_add(size) > most)
        {
            return Some("retention.bytes");
        }
        retention
            .count
            .is_some_and(|most| self.store.count() >= most)
            .then_some("retention.count")
    }

    /// An estimate of what the namespace takes.
    fn memory(&self) -> u64 {
        self.store.bytes() + self.store.count() * OVERHEAD + self.dead.bytes() + self.window.bytes()
    }

    fn can_evict(&self) -> bool {
        self.store.settled_count() * 16 > self.store.count()
    }

    /// Removes the oldest messages that everyone has settled, an eighth of the bound at once. With few
    /// settled ones among many it is not worth the search at each publish.
    fn evict_settled(&mut self) {
        if !self.can_evict() {
            return;
        }
        let enough = self.memory_limit - self.memory_limit / 8;
        let mut left = self.memory();
        let mut numbers = Vec::new();
        for (number, stored) in self.store.iter() {
            if left <= enough {
                break;
            }
            if stored.pending == 0 {
                numbers.push(number);
                left = left.saturating_sub(stored.message.size() as u64 + OVERHEAD);
            }
        }
        for number in numbers {
            self.store.remove(number);
        }
    }

    /// Removes a message, settled or not; whoever had not settled it counts it.
    fn drop_message(&mut self, number: u64) {
        let Some(stored) = self.store.remove(number) else {
            return;
        };
        if stored.pending == 0 {
            return;
        }
        let Some(log) = self.logs.get(stored.log) else {
            return;
        };
        self.drops.some = true;
        for key in &log.subscriptions {
            if let Some(subscription) = self.subscriptions.get_mut(*key) {
                subscription.forget(number, &stored);
            }
        }
    }

    /// What was dropped and not yet reported.
    pub(crate) fn take_drops(&mut self) -> Vec<Notice> {
        self.drops = Drops {
            reported: Some(Instant::now()),
            some: false,
        };
        self.subscriptions
            .iter_mut()
            .filter_map(|(_, subscription)| {
                let messages = subscription.take_unreported();
                let subscription = subscription.id.clone().filter(|_| messages > 0)?;
                Some(Notice::Dropped {
                    subscription,
                    messages,
                })
            })
            .collect()
    }

    /// As [`take_drops`](Self::take_drops), unless it was asked for a moment ago: a namespace that drops
    /// with each publish is reported once a second.
    pub(crate) fn drops_to_report(&mut self, now: Instant) -> Vec<Notice> {
        const APART: Duration = Duration::from_secs(1);
        let due = self
            .drops
            .reported
            .is_none_or(|last| now.duration_since(last) >= APART);
        if self.drops.some && due {
            self.take_drops()
        } else {
            Vec::new()
        }
    }

    /// Whether a publish would be refused.
    pub(crate) fn is_full(&self) -> Option<Error> {
        if self.retention.when_full == WhenFull::DropOldest {
            return None;
        }
        if let Some(key) = self.reached(0) {
            return Some(full(key, ""));
        }
        let stuck = self.memory().saturating_add(OVERHEAD) > self.memory_limit && !self.can_evict();
        stuck.then(|| full(MEMORY, MEMORY_ADVICE))
    }

    /// Figures for `health()`.
    pub(crate) fn details(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("messages", self.store.count().to_string()),
            ("bytes", self.store.bytes().to_string()),
            ("memory", self.memory().to_string()),
            ("memory_limit", self.memory_limit.to_string()),
            ("dead_letters_bytes", self.dead.bytes().to_string()),
        ])
    }
}

/// Whether something was dropped that no notice has told.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    some: bool,
    reported: Option<Instant>,
}
