//! Reading new messages.

use bus_api::{ErrorKind, Offset, Topic};
use redis::{Pipeline, Value};

use super::fetch::{Raw, is_fenced};
use super::{Driver, Recover, Stop, Turn};
use crate::error::senseless;
use crate::link;
use crate::script::{READ, STAY};
use crate::value::{Fields, Take, entries};

const WHAT: &str = "reading messages";
/// Most streams of one read.
const STREAMS: usize = 256;

/// What the server says of a stream.
enum Said {
    Entries(Vec<(Offset, Fields)>),
    /// It has no such group, and may not even be there.
    Missing {
        exists: bool,
    },
    /// The room did not reach it.
    Later,
    Refused(String),
}

impl Driver {
    /// Reads new messages of topics that may have some.
    pub(super) async fn read(&mut self, root: &str, room: usize) -> Turn<bool> {
        let streams = self.root(root).dirty.len().min(STREAMS).min(room);
        if streams == 0 {
            return Ok(false);
        }
        let topics: Vec<Topic> = self.root(root).dirty.drain(..streams).collect();
        for topic in &topics {
            if let Some(state) = self.root(root).topics.get_mut(topic) {
                state.dirty = false;
            }
        }
        let each = (room / streams).max(1);
        let said = match self.ask(root, &topics, room, each).await {
            Ok(said) => said,
            Err(stop) => {
                // Whether anything was read is looked at once the server answers.
                for topic in &topics {
                    self.touch(topic);
                    if let Some(state) = self.root(root).topics.get_mut(topic) {
                        state.recover.get_or_insert_with(Recover::own);
                    }
                }
                return Err(stop);
            }
        };
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for (index, said) in said {
            let topic = topics.get(index).ok_or_else(|| senseless(WHAT))?;
            match said {
                Said::Entries(entries) => {
                    if entries.len() == each {
                        self.touch(topic);
                    }
                    if let Some(state) = self.root(root).topics.get_mut(topic) {
                        state.grouped = true;
                        let last = entries.last().map(|(offset, _)| *offset);
                        state.last_read = state.last_read.max(last);
                    }
                    let entries = entries.into_iter();
                    found.extend(entries.map(|(at, body)| Raw::new(topic.clone(), at, body)));
                }
                Said::Missing { exists } => missing.push((topic.clone(), exists)),
                Said::Later => self.touch(topic),
                Said::Refused(code) => tracing::warn!(%topic, code, "a stream cannot be read"),
            }
        }
        self.deliver(found)?;
        for (topic, exists) in missing {
            self.missing(&topic, exists).await?;
        }
        let more = !self.root(root).dirty.is_empty();
        Ok(more && self.handle.shared.room() > 0)
    }

    /// Asks the server: what it says of these topics by their index, where it says anything.
    async fn ask(
        &mut self,
        root: &str,
        topics: &[Topic],
        room: usize,
        each: usize,
    ) -> Turn<Vec<(usize, Said)>> {
        let streams = topics
            .iter()
            .map(|topic| self.handle.core.keys.stream(topic));
        let streams: Vec<String> = streams.collect();
        let streams: Vec<&str> = streams.iter().map(String::as_str).collect();
        if !self.handle.ordered {
            match self.ask_plainly(root, &streams, each).await {
                // A server that is full takes no transaction, but still a script.
                Err(Stop::Failed(full)) if full.kind() == ErrorKind::Throttled => {}
                said => return said,
            }
        }
        self.ask_by_script(root, &streams, room, each).await
    }

    /// In a transaction, because messages that go through a script cost the server several times as much. Whether
    /// the lease had ended is looked at behind the reads: what they gave is then for others.
    async fn ask_plainly(
        &mut self,
        root: &str,
        streams: &[&str],
        each: usize,
    ) -> Turn<Vec<(usize, Said)>> {
        let handle = &self.handle;
        let (group, member) = (&handle.sub, handle.identity().0);
        let mut pipeline = Pipeline::with_capacity(streams.len() + 3);
        pipeline.cmd("MULTI");
        for stream in streams {
            let read = pipeline.cmd("XREADGROUP");
            read.arg("GROUP").arg(group).arg(&*handle.consumer(&member));
            read.arg("COUNT").arg(each);
            read.arg("STREAMS").arg(stream).arg(">");
        }
        let park = handle.core.keys.subscription(root, group).park;
        let keys: Vec<&str> = [park.as_str()].iter().chain(streams).copied().collect();
        let mut stay = self.call(&STAY, root, &keys);
        stay.arg(group);
        pipeline.add_command(stay).cmd("EXEC");
        let mut replies = handle.core.reading.run_all(&pipeline).await?;
        let done = replies.pop().ok_or_else(|| senseless(WHAT))?;
        for queued in replies {
            link::ok(queued)?;
        }
        let mut parts = link::ok(done)?.array(WHAT)?;
        let stays = parts.pop().ok_or_else(|| senseless(WHAT))?;
        if link::ok(stays)?.int(WHAT)? == 0 {
            return Err(Stop::Fenced);
        }
        let mut said = Vec::with_capacity(parts.len());
        for (index, part) in parts.into_iter().enumerate() {
            said.push(match part {
                Value::Nil => continue,
                Value::ServerError(reply) if reply.code() == "NOGROUP" => {
                    let exists = redis::cmd("EXISTS").arg(streams[index]).take();
                    let exists = self.handle.core.reading.run(&exists).await?;
                    let exists = exists.int(WHAT)? == 1;
                    (index, Said::Missing { exists })
                }
                Value::ServerError(reply) => (index, Said::Refused(reply.code().to_owned())),
                part => {
                    // One stream: its key and its entries.
                    let stream = part.array(WHAT)?.pop().unwrap_or_default();
                    let body = stream.array(WHAT)?.pop().unwrap_or_default();
                    (index, Said::Entries(entries(body, WHAT)?))
                }
            });
        }
        Ok(said)
    }

    /// In a script: the shared consumer of an ordered subscription is its active member's alone.
    async fn ask_by_script(
        &mut self,
        root: &str,
        streams: &[&str],
        room: usize,
        each: usize,
    ) -> Turn<Vec<(usize, Said)>> {
        let mut call = self.call(&READ, root, streams);
        call.arg(&self.handle.sub).arg(room).arg(each);
        let parts = self.handle.core.reading.run(&call).await?.array(WHAT)?;
        if is_fenced(&parts) {
            return Err(Stop::Fenced);
        }
        let mut said = Vec::with_capacity(parts.len());
        for part in parts {
            let mut part = part.array(WHAT)?.into_iter();
            let (Some(index), Some(word)) = (part.next(), part.next()) else {
                return Err(senseless(WHAT).into());
            };
            let index = usize::try_from(index.int(WHAT)?).unwrap_or(usize::MAX);
            let word = match (word.text(WHAT)?.as_str(), part.next()) {
                ("E", Some(body)) => Said::Entries(entries(body, WHAT)?),
                ("N", Some(exists)) => Said::Missing {
                    exists: exists.int(WHAT)? == 1,
                },
                ("L", _) => Said::Later,
                (_, refused) => {
                    let text = refused.map_or(Ok(String::new()), |text| text.text(WHAT))?;
                    let code = text.split(' ').next().unwrap_or_default();
                    Said::Refused(code.to_owned())
                }
            };
            said.push((index, word));
        }
        Ok(said)
    }
}
