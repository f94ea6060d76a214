//! Sends messages in order, in overlapping batches, and tries again what may be tried again.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use super::core::Core;
use super::lane::{Lane, LaneKey, Step};
use super::publish::Confirmed;
use super::tries::{Tries, Verdict};
use super::window::{Room, Share};
use crate::contract::{Message, Published};
use crate::error::{Error, ErrorKind, Result};

/// Most messages of one call.
const BATCH_MESSAGES: usize = 512;
/// Bytes after which a call takes no further message.
const BATCH_BYTES: usize = 1 << 20;
/// Most calls that overlap: enough to hide the round trip, few enough for batches to grow.
const CALLS: usize = 8;

/// Sends messages in the order in which they were pushed, without a task of its own: it moves when it is
/// polled.
///
/// A call takes everything that waits, up to a bound; several calls overlap, each polled once before the
/// next is made, which is what the adapter keeps order by. `T` is what the owner wants back with the
/// outcome of a message.
pub(super) struct Engine<T> {
    core: Arc<Core>,
    next_seq: u64,
    ready: VecDeque<Entry<T>>,
    lanes: HashMap<LaneKey, Lane<T>>,
    work: FuturesUnordered<Pin<Box<dyn Future<Output = Done<T>> + Send>>>,
    calls: usize,
    finished: VecDeque<Finished<T>>,
    /// What its messages take of the window.
    room: Room,
    /// Of this, what is to be freed: once for all that one poll finishes.
    freed: Share,
}

/// A message on its way.
pub(super) struct Entry<T> {
    pub(super) seq: u64,
    pub(super) message: Arc<Message>,
    pub(super) tries: Tries,
    /// Why the last try failed.
    pub(super) last_error: Option<Error>,
    pub(super) tag: T,
}

/// A message with its outcome.
pub(super) struct Finished<T> {
    /// The number that [`Engine::push`] gave.
    pub(super) seq: u64,
    pub(super) tag: T,
    pub(super) result: Result<Confirmed>,
}

/// What the engine waits for.
enum Done<T> {
    Called(Vec<Entry<T>>, Vec<Result<Published>>),
    /// Messages without a key have waited.
    Rested(Vec<Entry<T>>),
    /// The failed messages of a lane have waited.
    LaneRested(LaneKey),
}

impl<T: Send + 'static> Engine<T> {
    /// An engine with places for `expected` messages.
    pub(super) fn new(core: Arc<Core>, expected: usize) -> Self {
        Self {
            room: core.window.no_room(),
            freed: Share::default(),
            core,
            next_seq: 0,
            ready: VecDeque::with_capacity(expected),
            lanes: HashMap::new(),
            work: FuturesUnordered::new(),
            calls: 0,
            finished: VecDeque::with_capacity(expected),
        }
    }

    /// Takes room for messages, when there is some for all of them now. What a message takes is free again
    /// when it has its outcome.
    pub(super) fn try_room<'a>(&mut self, messages: impl IntoIterator<Item = &'a Message>) -> bool {
        self.room.try_grow(messages.into_iter().map(Message::size))
    }

    /// Takes over room that a message has. It is free again when the message has its outcome.
    pub(super) fn take_room(&mut self, room: Room) {
        self.room.join(room);
    }

    /// Adds a checked message, which has its room, behind all others; returns its number. Sent by the
    /// next poll.
    pub(super) fn push(&mut self, message: Arc<Message>, tag: T, tries: &Tries) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.ready.push_back(Entry {
            seq,
            tries: tries.of(&message),
            message,
            last_error: None,
            tag,
        });
        seq
    }

    /// The next outcome that polling has brought.
    pub(super) fn finished(&mut self) -> Option<Finished<T>> {
        self.finished.pop_front()
    }

    /// Sends what waits and takes what was answered. Ready when every message has its outcome.
    ///
    /// Dropping whatever polls it loses nothing: the state is here.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.poll_calls(cx);
        // Before the owner looks at the outcomes: whoever hears of one finds its room free.
        self.room.free(std::mem::take(&mut self.freed));
        polled
    }

    fn poll_calls(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.dispatch(cx);
            match self.work.poll_next_unpin(cx) {
                Poll::Ready(Some(done)) => self.absorb(done),
                // Dispatching leaves nothing behind when no call is outstanding.
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn dispatch(&mut self, cx: &mut Context<'_>) {
        while self.calls < CALLS && !self.ready.is_empty() {
            let now = Instant::now();
            let batch = self.next_batch(now);
            let Some(deadline) = batch.iter().map(|entry| entry.tries.deadline()).max() else {
                return;
            };
            let core = Arc::clone(&self.core);
            let mut call: Pin<Box<dyn Future<Output = Done<T>> + Send>> = Box::pin(async move {
                let messages = batch
                    .iter()
                    .map(|entry| Arc::clone(&entry.message))
                    .collect();
                let results = core.send(messages, now, deadline).await;
                Done::Called(batch, results)
            });
            self.calls += 1;
            // Polled before the next call is made: that fixes the order.
            match call.as_mut().poll(cx) {
                Poll::Ready(done) => self.absorb(done),
                Poll::Pending => self.work.push(call),
            }
        }
    }

    /// The messages of the next call, in order; none when nothing can be sent.
    fn next_batch(&mut self, now: Instant) -> Vec<Entry<T>> {
        let mut batch = Vec::with_capacity(self.ready.len().min(BATCH_MESSAGES));
        let mut bytes = 0;
        while batch.len() < BATCH_MESSAGES
            && bytes < BATCH_BYTES
            && let Some(entry) = self.ready.pop_front()
        {
            let key = LaneKey::of(&entry.message);
            let entry = match key.as_ref().and_then(|key| self.lanes.get_mut(key)) {
                Some(lane) => match lane.hold(entry) {
                    Some(entry) => entry,
                    None => continue,
                },
                None => entry,
            };
            if entry.tries.deadline() <= now {
                self.expire(entry);
                continue;
            }
            if let Some(key) = key {
                self.lanes.entry(key).or_insert_with(Lane::new).in_flight += 1;
            }
            if entry.last_error.is_some() {
                self.core.meters.retries.increment(1);
            }
            bytes += entry.message.size();
            batch.push(entry);
        }
        batch
    }

    fn absorb(&mut self, done: Done<T>) {
        match done {
            Done::Called(entries, results) => {
                self.calls -= 1;
                self.answered(entries, results);
            }
            Done::Rested(entries) => self.again(entries.into()),
            Done::LaneRested(key) => {
                // While it rests nothing of it is sent: what it knows ends here.
                if let Some(lane) = self.lanes.remove(&key) {
                    self.again(lane.resume());
                }
            }
        }
    }

    /// Puts messages before everything that waits: what waits of the same lanes is newer.
    fn again(&mut self, entries: VecDeque<Entry<T>>) {
        for entry in entries.into_iter().rev() {
            self.ready.push_front(entry);
        }
    }

    fn answered(&mut self, entries: Vec<Entry<T>>, results: Vec<Result<Published>>) {
        let mut loose = (Vec::new(), Duration::ZERO);
        let mut touched = Vec::new();
        for (mut entry, result) in entries.into_iter().zip(results) {
            let key = LaneKey::of(&entry.message);
            let verdict = result.map_err(|error| entry.tries.judge(error));
            let stored = verdict.is_ok() || entry.tries.maybe_stored();
            if let Some(lane) = key.as_ref().and_then(|key| self.lanes.get_mut(key)) {
                lane.in_flight = lane.in_flight.saturating_sub(1);
                if stored {
                    lane.stored(entry.seq);
                }
            }
            match (verdict, &key) {
                (Ok(published), _) => self.finish(entry, Ok(published)),
                (Err(Verdict::Final(error)), _) => self.finish(entry, Err(error)),
                (Err(Verdict::Again(delay, error)), None) => {
                    entry.last_error = Some(error);
                    loose.0.push(entry);
                    loose.1 = loose.1.max(delay);
                }
                (Err(Verdict::Again(delay, error)), Some(key)) => {
                    let lane = self.lanes.entry(key.clone()).or_insert_with(Lane::new);
                    lane.failed(entry, delay, error);
                }
            }
            // A batch often has runs of one key.
            if key.is_some() && touched.last() != Some(&key) {
                touched.push(key);
            }
        }
        for key in touched.into_iter().flatten() {
            self.settle_lane(key);
        }
        let (entries, delay) = loose;
        if !entries.is_empty() {
            self.work.push(Box::pin(async move {
                tokio::time::sleep(delay).await;
                Done::Rested(entries)
            }));
        }
    }

    fn settle_lane(&mut self, key: LaneKey) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        let overtaken = lane.overtaken();
        let released = lane.released();
        match lane.step() {
            Step::Wait => {}
            Step::Rest(delay) => self.work.push(Box::pin(async move {
                tokio::time::sleep(delay).await;
                Done::LaneRested(key)
            })),
            Step::Gone => {
                self.lanes.remove(&key);
            }
        }
        for (entry, error) in overtaken {
            self.finish(entry, Err(error));
        }
        self.again(released);
    }

    /// Its time passed while it waited behind earlier messages of its key, or to be sent again.
    fn expire(&mut self, mut entry: Entry<T>) {
        let error = entry.last_error.take().unwrap_or_else(|| {
            Error::new(
                ErrorKind::Timeout,
                "earlier messages of the same topic and key could not be sent within `publish_timeout`",
            )
            .transport(self.core.transport())
        });
        let error = entry.tries.honest(error);
        self.finish(entry, Err(error));
    }

    fn finish(&mut self, entry: Entry<T>, result: Result<Published>) {
        let size = entry.message.size();
        self.freed.add(self.core.window.share(size));
        self.core.meters.finished(size, result.as_ref());
        self.finished.push_back(Finished {
            seq: entry.seq,
            tag: entry.tag,
            result: result
                .map(|published| Confirmed::new(entry.message.metadata.id.clone(), published)),
        });
    }
}
