//! Fetching: what is held and was not handed over, what is due, what is new.

use std::sync::Arc;
use std::time::Duration;

use bus_api::cloudevents::Extent;
use bus_api::{Delivery, Offset, Receipt, Result, Topic};
use redis::{Cmd, Value};
use tokio::time::Instant;

use super::{Driver, Recover, Stop, Turn};
use crate::error::senseless;
use crate::script::{self, DUE, OWN};
use crate::value::{Fields, Take, fields, offset};
use crate::wire;

/// Most messages of one read.
const MOST: usize = 512;
/// How often parked messages are looked at without a wake-up.
const DUE_POLL: Duration = Duration::from_secs(1);

/// A message as the server gave it.
pub(super) struct Raw {
    topic: Topic,
    offset: Offset,
    fields: Fields,
    /// Hand-overs, this one included.
    count: u32,
    redelivered: bool,
    record: Option<bytes::Bytes>,
    due: Duration,
}

impl Raw {
    /// One that nobody had before.
    pub(super) fn new(topic: Topic, offset: Offset, fields: Fields) -> Self {
        Self {
            topic,
            offset,
            fields,
            count: 1,
            redelivered: false,
            record: None,
            due: Duration::ZERO,
        }
    }
}

/// Whether a reply says that the member is not one any more.
pub(super) fn is_fenced(parts: &[Value]) -> bool {
    matches!(parts.first(), Some(Value::BulkString(word)) if word == b"F")
}

impl Driver {
    /// A script call with the keys and arguments that all of them begin with.
    pub(super) fn call(&self, script: &redis::Script, root: &str, more: &[&str]) -> Cmd {
        let name = self.handle.identity().0;
        let consumer = self.handle.consumer(&name);
        let keys = self.handle.core.keys.subscription(root, &self.handle.sub);
        let all = [keys.members.as_str(), keys.lock.as_str()];
        let mut call = script::call(script, all.into_iter().chain(more.iter().copied()));
        call.arg(&*name).arg(&*consumer);
        call
    }

    /// Fetches for the room there is; true when there may be more at once.
    pub(super) async fn fetch(&mut self, root: &str) -> Turn<bool> {
        let room = self.handle.shared.room().min(MOST);
        if room == 0 {
            return Ok(false);
        }
        if self.recover(root, room).await? {
            return Ok(true);
        }
        let now = Instant::now();
        if !self.handle.ordered && self.root(root).due_at <= now {
            let found = self.due(root, room).await?;
            if found > 0 {
                // What waited goes before what is new.
                self.root(root).due_at = now;
                return Ok(true);
            }
        }
        self.read(root, self.handle.shared.room().min(MOST)).await
    }

    /// Looks through what the server thinks this member holds; true when anything was looked through.
    async fn recover(&mut self, root: &str, room: usize) -> Turn<bool> {
        const WHAT: &str = "reading what is held";
        let next = self.root(root).topics.iter().find_map(|(topic, state)| {
            let recover = state.recover.clone()?;
            Some((topic.clone(), recover))
        });
        let Some((topic, recover)) = next else {
            return Ok(false);
        };
        let keys = self.root(root).keys.clone();
        let stream = self.handle.core.keys.stream(&topic);
        let mut call = self.call(&OWN, root, &[&keys.records, &keys.park, &stream]);
        call.arg(&self.handle.sub)
            .arg(&recover.from)
            .arg(room)
            .arg(u8::from(recover.taken_over));
        // Before the question: what is settled while it is answered is in the answer, and not held any more.
        let held = self.handle.shared.held_of(&topic);
        let parts = self.handle.core.reading.run(&call).await?.array(WHAT)?;
        if is_fenced(&parts) {
            return Err(Stop::Fenced);
        }
        let gone = matches!(parts.first(), Some(Value::BulkString(word)) if word == b"N");
        let full = !gone && parts.len() >= room;
        let mut found = Vec::new();
        let mut last = None;
        for part in parts.into_iter().filter(|_| !gone) {
            let parts = part.array(WHAT)?;
            let Ok([id, count, record, due, body]) = <[Value; 5]>::try_from(parts) else {
                return Err(senseless(WHAT).into());
            };
            let at = offset(&id.text(WHAT)?).ok_or_else(|| senseless(WHAT))?;
            last = Some(at);
            if matches!(body, Value::Nil) || held.contains(&at) {
                continue;
            }
            let record = record.bytes(WHAT)?;
            let before = count.int(WHAT)?;
            let limit = i64::from(!recover.taken_over);
            found.push(Raw {
                topic: topic.clone(),
                offset: at,
                fields: fields(body, WHAT)?,
                count: counted(before + i64::from(recover.taken_over)),
                redelivered: before > limit || !record.is_empty(),
                record: Some(record).filter(|record| !record.is_empty()),
                due: millis(due.int(WHAT)?),
            });
        }
        if let Some(state) = self.root(root).topics.get_mut(&topic) {
            state.recover = match last {
                Some(last) if full => Some(Recover {
                    from: format!("({}", crate::value::id(last)),
                    taken_over: recover.taken_over,
                }),
                _ => None,
            };
            state.last_read = state.last_read.max(last);
        }
        self.deliver(found)?;
        Ok(true)
    }

    /// Takes what is due.
    async fn due(&mut self, root: &str, room: usize) -> Turn<usize> {
        const WHAT: &str = "taking what is due";
        let keys = self.root(root).keys.clone();
        let mut call = self.call(&DUE, root, &[&keys.park, &keys.records]);
        call.arg(&self.handle.sub).arg(room);
        let mut parts = self
            .handle
            .core
            .reading
            .run(&call)
            .await?
            .array(WHAT)?
            .into_iter();
        let (Some(next), body) = (parts.next(), parts.next()) else {
            return Err(senseless(WHAT).into());
        };
        if matches!(&next, Value::BulkString(word) if word == b"F") {
            return Err(Stop::Fenced);
        }
        let next = next.int(WHAT)?;
        let wait = if next < 0 {
            DUE_POLL
        } else {
            millis(next).min(DUE_POLL)
        };
        self.root(root).due_at = Instant::now() + wait;
        let mut found = Vec::new();
        for part in body.unwrap_or_default().array(WHAT)? {
            let parts = part.array(WHAT)?;
            let Ok([stream, id, count, record, body]) = <[Value; 5]>::try_from(parts) else {
                return Err(senseless(WHAT).into());
            };
            let topic = self.handle.core.keys.topic_of(&stream.text(WHAT)?);
            let at = offset(&id.text(WHAT)?);
            let (Some(topic), Some(offset)) = (topic, at) else {
                return Err(senseless(WHAT).into());
            };
            if matches!(body, Value::Nil) {
                continue;
            }
            let record = record.bytes(WHAT)?;
            let before = count.int(WHAT)?;
            found.push(Raw {
                topic,
                offset,
                fields: fields(body, WHAT)?,
                count: counted(before + 1),
                redelivered: before > 0 || !record.is_empty(),
                record: Some(record).filter(|record| !record.is_empty()),
                due: Duration::ZERO,
            });
        }
        let count = found.len();
        self.deliver(found)?;
        Ok(count)
    }

    /// Hands messages to the receiver.
    pub(super) fn deliver(&self, found: Vec<Raw>) -> Turn<()> {
        let epoch = self.handle.identity().1;
        let mut deliveries = Vec::with_capacity(found.len());
        for raw in found {
            let topic = raw.topic.clone();
            let delivery = decode(raw, epoch).map_err(Stop::End)?;
            deliveries.push((topic, delivery));
        }
        self.handle
            .shared
            .push(deliveries, epoch, self.handle.ordered, true);
        Ok(())
    }
}

fn decode(raw: Raw, epoch: u64) -> Result<Delivery> {
    let position = wire::position(&raw.topic, raw.offset);
    let decoded = wire::read(&raw.topic, &position, &raw.fields, Extent::Usual)?;
    Ok(Delivery {
        receipt: Receipt { slot: 0, epoch },
        message: Arc::new(decoded.message),
        position,
        delivery: raw.count,
        redelivered: raw.redelivered,
        not_before: (!raw.due.is_zero()).then(|| Instant::now() + raw.due),
        record: raw.record,
        malformed: decoded.malformed,
    })
}

fn counted(count: i64) -> u32 {
    u32::try_from(count.max(1)).unwrap_or(u32::MAX)
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
