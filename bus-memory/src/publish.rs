//! Storing messages.

use std::sync::Arc;

use bus_api::{Message, Offset, Position, Published, Result};
use tokio::time::Instant;

use crate::error::{not_found, too_large};
use crate::slab::Key;
use crate::space::Space;
use crate::state::State;
use crate::store::Stored;

/// What a connection allows itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_payload: usize,
    /// Whether a topic may be made.
    pub(crate) create: bool,
}

impl Space {
    /// Stores a batch, in order, under one lock.
    pub(crate) fn publish(
        &self,
        batch: Vec<Arc<Message>>,
        limits: Limits,
    ) -> Vec<Result<Published>> {
        let mut results = Vec::with_capacity(batch.len());
        let mut state = self.lock();
        let clock = Clock::read(&mut state);
        state.expire(clock.now);
        state.expire_window(clock.now);
        for message in batch {
            results.push(state.publish_one(message, limits, self.broker(), &clock));
        }
        state.wake_touched();
        let drops = state.drops_to_report(clock.now);
        drop(state);
        if !drops.is_empty() {
            self.report(&drops);
            self.note_idle();
        }
        results
    }

    /// Stores one message of another producer.
    pub(crate) fn store_foreign(
        &self,
        make: impl FnOnce(&Position) -> Result<(Message, Option<Box<str>>)>,
        topic: &bus_api::Topic,
    ) -> Result<Published> {
        let mut state = self.lock();
        let clock = Clock::read(&mut state);
        let log = state.log(topic, self.broker());
        let number = state.store.next();
        let published = state.published(log, number, &clock);
        let position = published.position.as_ref();
        let position = position.ok_or_else(|| not_found("the log does not exist"))?;
        let (message, malformed) = make(position)?;
        state.make_room(message.size())?;
        state.store(log, Arc::new(message), malformed, &clock);
        state.wake_touched();
        Ok(published)
    }
}

/// The moment of a batch on both clocks.
struct Clock {
    now: Instant,
    stored_at: std::time::SystemTime,
}

impl Clock {
    /// The store time never runs backwards, whatever the wall clock does.
    fn read(state: &mut State) -> Self {
        let now = Instant::now();
        let stored_at = bus_api::clock::at(now).max(state.last_stored_at);
        state.last_stored_at = stored_at;
        Self { now, stored_at }
    }
}

impl State {
    fn expire_window(&mut self, now: Instant) {
        let window = self.dedup_window;
        self.window.expire(now, window);
    }

    fn publish_one(
        &mut self,
        message: Arc<Message>,
        limits: Limits,
        broker: &str,
        clock: &Clock,
    ) -> Result<Published> {
        if message.payload.len() > limits.max_payload {
            return Err(too_large(message.payload.len(), limits.max_payload));
        }
        if !limits.create && !self.topics.contains_key(&message.topic) {
            return Err(not_found(
                "the topic does not exist and `provision` does not allow to make it",
            )
            .with("topic", &message.topic));
        }
        let log = self.log(&message.topic, broker);
        if let Some(id) = &message.dedup_id
            && let Some(first) = self.window.find(log, id)
        {
            return Ok(Published {
                duplicate: true,
                ..first.clone()
            });
        }
        self.make_room(message.size())
            .map_err(|error| error.with("topic", &message.topic))?;
        let published = self.published(log, self.store.next(), clock);
        if let Some(id) = message.dedup_id.clone() {
            self.window.remember(clock.now, log, id, published.clone());
        }
        self.store(log, message, None, clock);
        Ok(published)
    }

    fn published(&self, log: Key, number: u64, clock: &Clock) -> Published {
        Published {
            position: self.logs.get(log).map(|log| {
                Position::new(Arc::clone(log.name()), Offset(number, 0), clock.stored_at)
            }),
            stored_at: Some(clock.stored_at),
            duplicate: false,
        }
    }

    /// Stores a message and offers it to the subscriptions of its log.
    fn store(
        &mut self,
        log: Key,
        message: Arc<Message>,
        malformed: Option<Box<str>>,
        clock: &Clock,
    ) {
        let number = self.store.next();
        let mut pending = 0;
        let interested = self
            .logs
            .get(log)
            .map_or(&[][..], |log| log.subscriptions.as_slice());
        for key in interested {
            if let Some(subscription) = self.subscriptions.get_mut(*key)
                && subscription.offer(number, clock.stored_at)
            {
                pending += 1;
            }
        }
        if self.touched.last() != Some(&log) && !self.touched.contains(&log) {
            self.touched.push(log);
        }
        self.store.push(Stored {
            log,
            message,
            stored_at: clock.stored_at,
            at: clock.now,
            pending,
            malformed,
        });
    }

    /// Wakes who waits for messages of the logs that were just written.
    fn wake_touched(&mut self) {
        for key in self.touched.drain(..) {
            let Some(log) = self.logs.get(key) else {
                continue;
            };
            for key in &log.subscriptions {
                if let Some(subscription) = self.subscriptions.get_mut(*key) {
                    subscription.wake_one();
                }
            }
        }
    }
}
