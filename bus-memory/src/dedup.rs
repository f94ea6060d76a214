//! The window in which a second message of the same topic and dedup id is not stored.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bus_api::Published;
use tokio::time::Instant;

use crate::slab::Key;

/// What was stored under a dedup id within the window.
#[derive(Debug, Default)]
pub(crate) struct Window {
    known: HashMap<Key, HashMap<Box<str>, Published>>,
    order: VecDeque<(Instant, Key, Box<str>)>,
}

impl Window {
    /// The first message of this log and dedup id, if it is still in the window.
    pub(crate) fn find(&self, log: Key, id: &str) -> Option<&Published> {
        self.known.get(&log)?.get(id)
    }

    pub(crate) fn remember(&mut self, now: Instant, log: Key, id: Box<str>, first: Published) {
        self.order.push_back((now, log, id.clone()));
        self.known.entry(log).or_default().insert(id, first);
    }

    /// An estimate of what it takes.
    pub(crate) fn bytes(&self) -> u64 {
        const EACH: u64 = 384;
        self.order.len() as u64 * EACH
    }

    /// Forgets what is older than `window`.
    pub(crate) fn expire(&mut self, now: Instant, window: Duration) {
        while self
            .order
            .front()
            .is_some_and(|(at, ..)| now.duration_since(*at) >= window)
        {
            if let Some((_, log, id)) = self.order.pop_front()
                && let Some(known) = self.known.get_mut(&log)
            {
                known.remove(&id);
                if known.is_empty() {
                    self.known.remove(&log);
                }
            }
        }
    }

    /// Forgets a log that is gone.
    pub(crate) fn forget_log(&mut self, log: Key) {
        self.known.remove(&log);
        self.order.retain(|(_, known, _)| *known != log);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;

    #[test]
    fn the_scope_is_log_and_id_within_the_window() {
        let first = Published {
            position: None,
            stored_at: None,
            duplicate: false,
        };
        let mut slab = Slab::default();
        let (log, other) = (slab.insert(()), slab.insert(()));
        let now = Instant::now();
        let window = Duration::from_secs(10);
        let mut dedup = Window::default();
        dedup.remember(now, log, "a".into(), first);
        assert!(dedup.find(log, "a").is_some());
        assert!(dedup.find(other, "a").is_none());
        assert!(dedup.find(log, "b").is_none());
        dedup.expire(now + Duration::from_secs(9), window);
        assert!(dedup.find(log, "a").is_some());
        dedup.expire(now + window, window);
        assert!(dedup.find(log, "a").is_none());
        assert!(dedup.known.is_empty() && dedup.order.is_empty());
    }
}
