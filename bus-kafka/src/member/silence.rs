//! Topics that were silent for so long that another one of the same name may be read by now.
//!
//! When a topic is deleted and made anew, the client library's next fetch fails; it waits for
//! `fetch.error.backoff.ms`, learns the new topic's id, and reads on at the old position without a word. So whatever
//! comes after a silence of half that time is looked at before it is taken.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// What the member's consumer is told to wait after a fetch that failed.
pub(super) const BACKOFF: Duration = Duration::from_millis(500);

/// When something was heard of each topic.
pub(super) struct Silence {
    heard: HashMap<String, Instant>,
    /// When the member listened last.
    listened: Instant,
}

impl Silence {
    const LONG: Duration = Duration::from_millis(250);

    pub(super) fn new() -> Self {
        Self {
            heard: HashMap::new(),
            listened: Instant::now(),
        }
    }

    /// Records of these topics were heard: which of them were silent for long before. After a pause of the listener it
    /// cannot be told, and all of them count.
    pub(super) fn broken<'a>(&mut self, topics: impl Iterator<Item = &'a str>) -> Vec<String> {
        let now = Instant::now();
        let was_deaf = now - self.listened > Self::LONG;
        self.listened = now;
        let mut broken: Vec<String> = Vec::new();
        let mut last = None;
        for topic in topics {
            // Records come in runs of one topic: one look for each.
            if last.replace(topic) == Some(topic) {
                continue;
            }
            let before = match self.heard.get_mut(topic) {
                Some(heard) => Some(std::mem::replace(heard, now)),
                None => self.heard.insert(topic.to_owned(), now),
            };
            // The same topic may be heard again in the same breath.
            let is_long = before.is_none_or(|before| now - before > Self::LONG);
            if (is_long || was_deaf) && before != Some(now) {
                broken.push(topic.to_owned());
            }
        }
        broken
    }

    /// Nothing was heard.
    pub(super) fn goes_on(&mut self) {
        self.listened = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_topic_is_looked_at_after_a_silence_of_its_own_or_of_the_listener() {
        let mut silence = Silence::new();
        let mut hear = async |after: u64, topics: &[&'static str]| {
            for _ in 0..after / 50 {
                tokio::time::advance(Duration::from_millis(50)).await;
                silence.goes_on();
            }
            silence.broken(topics.iter().copied())
        };
        assert_eq!(hear(0, &["a", "a"]).await, ["a"]);
        assert!(hear(200, &["a"]).await.is_empty());
        assert_eq!(hear(100, &["b", "a"]).await, ["b"]);
        assert_eq!(hear(300, &["b", "b"]).await, ["b"]);
        tokio::time::advance(BACKOFF).await;
        assert_eq!(silence.broken(["b", "b"].into_iter()), ["b"]);
        assert!(silence.broken(["b"].into_iter()).is_empty());
    }
}
