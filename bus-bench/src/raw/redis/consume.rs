//! Receiving and settling.

use std::time::Instant;

use anyhow::{Result, bail};
use futures_util::future::{try_join, try_join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryStreamExt};
use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;
use redis::{Cmd, Pipeline, Value};

use super::{Redis, Use, payload, streams};
use crate::load::Load;
use crate::side::Sample;
use crate::tally::Tally;
use crate::work::BATCH;

/// Entries of a read, tuned.
const MANY: usize = 500;
/// Acks on their way at the same time, tuned.
const ACKS: usize = 8;

impl Redis {
    pub(super) async fn backlog(&self, load: &Load, tuned: bool) -> Result<Sample> {
        let streams = streams(load, 1);
        self.fill(load, &streams).await?;
        self.join("bench", &streams).await?;
        let reader = self.reader().await?;
        let tally = self.all(reader, "bench", &streams, load, tuned).await?;
        Ok(Sample::received(tally.since_first(), [&tally]))
    }

    pub(super) async fn spread(&self, load: &Load, topics: usize, groups: usize) -> Result<Sample> {
        let streams = streams(load, topics);
        let names: Vec<_> = (0..groups).map(|group| format!("bench{group}")).collect();
        let mut readers = Vec::new();
        for name in &names {
            self.join(name, &streams).await?;
            readers.push((self.reader().await?, name));
        }
        let begun = Instant::now();
        let reading = try_join_all(
            readers
                .into_iter()
                .map(|(reader, name)| self.all(reader, name, &streams, load, false)),
        );
        let (tallies, ()) = try_join(reading, self.fill(load, &streams)).await?;
        Ok(Sample::received(begun.elapsed(), &tallies))
    }

    /// Makes the group.
    async fn join(&self, group: &str, streams: &[String]) -> Result<()> {
        let mut connection = self.connection.clone();
        for stream in streams {
            let _: Value = redis::cmd("XGROUP")
                .arg("CREATE")
                .arg(stream)
                .arg(group)
                .arg("0")
                .arg("MKSTREAM")
                .query_async(&mut connection)
                .await?;
        }
        Ok(())
    }

    async fn all(
        &self,
        reader: MultiplexedConnection,
        group: &str,
        streams: &[String],
        load: &Load,
        tuned: bool,
    ) -> Result<Tally> {
        let many = match (self.usage, tuned) {
            (Use::Best, false) => (BATCH, 0),
            (Use::Best, true) => (MANY, ACKS),
            (Use::Plain, _) => return ack_singly(reader, group, streams, load).await,
        };
        ack_together(reader, &self.connection, group, streams, load, many).await
    }
}

fn read(group: &str, count: usize, streams: &[String]) -> Cmd {
    let mut read = redis::cmd("XREADGROUP");
    read.arg("GROUP").arg(group).arg("reader");
    read.arg("COUNT").arg(count).arg("BLOCK").arg(5_000);
    read.arg("STREAMS").arg(streams);
    for _ in streams {
        read.arg(">");
    }
    read
}

/// Takes the payloads of a reply; the acks of each stream's entries.
fn take(reply: &Value, group: &str, tally: &mut Tally) -> Result<Pipeline> {
    let mut acks = Pipeline::new();
    let streams: Vec<(&Value, &Value)> = match reply {
        Value::Array(streams) => streams
            .iter()
            .filter_map(|stream| match stream {
                Value::Array(parts) => Some((parts.first()?, parts.get(1)?)),
                _ => None,
            })
            .collect(),
        Value::Map(streams) => streams
            .iter()
            .map(|(name, entries)| (name, entries))
            .collect(),
        _ => bail!("nothing came within 5 s"),
    };
    for (name, entries) in streams {
        let (Value::BulkString(name), Value::Array(entries)) = (name, entries) else {
            bail!("the reply makes no sense");
        };
        let ack = acks.cmd("XACK").arg(&name[..]).arg(group);
        for entry in entries {
            let Value::Array(entry) = entry else { continue };
            let [Value::BulkString(id), Value::Array(fields)] = &entry[..] else {
                continue;
            };
            tally.take(payload(fields).unwrap_or_default());
            ack.arg(&id[..]);
        }
    }
    Ok(acks)
}

/// One ack for all entries of a read; up to `window` of them on their way while the next read is.
async fn ack_together(
    mut reader: MultiplexedConnection,
    acks: &MultiplexedConnection,
    group: &str,
    streams: &[String],
    load: &Load,
    (count, window): (usize, usize),
) -> Result<Tally> {
    let mut tally = Tally::new(load.messages);
    let mut acking = FuturesUnordered::new();
    while !tally.is_complete() {
        let read = read(group, count, streams);
        let reading = read.query_async::<Value>(&mut reader);
        tokio::pin!(reading);
        let reply = loop {
            tokio::select! {
                reply = &mut reading => break reply?,
                Some(acked) = acking.next(), if !acking.is_empty() => {
                    let _: Vec<Value> = acked?;
                }
            }
        };
        let settled = take(&reply, group, &mut tally)?;
        let mut connection = acks.clone();
        acking.push(async move { settled.query_async::<Vec<Value>>(&mut connection).await });
        while acking.len() > window {
            acking.try_next().await?;
        }
    }
    while acking.try_next().await?.is_some() {}
    Ok(tally)
}

async fn ack_singly(
    mut connection: MultiplexedConnection,
    group: &str,
    streams: &[String],
    load: &Load,
) -> Result<Tally> {
    let mut tally = Tally::new(load.messages);
    while !tally.is_complete() {
        let reply: StreamReadReply = read(group, BATCH, streams)
            .query_async(&mut connection)
            .await?;
        for stream in reply.keys {
            for entry in stream.ids {
                tally.take(&entry.get::<Vec<u8>>("data").unwrap_or_default());
                let _: Value = redis::cmd("XACK")
                    .arg(&stream.key)
                    .arg(group)
                    .arg(&entry.id)
                    .query_async(&mut connection)
                    .await?;
            }
        }
    }
    Ok(tally)
}
