//! Requests of one partition, and what a record says about one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bus_api::cloudevents::Extent;
use bus_api::{Error, IncomingRequest, Pattern, ReplyTo, Result, Topic};
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::poll::Context;
use crate::error::{from_client, is_final};
use crate::request::{DEADLINE, REPLY_TO, TIMEOUT};
use crate::{sys, wire};

/// A partition whose records are taken by whoever receives requests, on the runtime: a thread in between would be
/// part of every request's latency.
pub(super) struct Partition {
    pub(super) number: i32,
    /// The offset of the next record.
    next: i64,
    queue: PartitionQueue<Context>,
    first: Option<Waiting>,
}

/// A request that waits to be handed out.
pub(super) struct Waiting {
    offset: i64,
    pub(super) stored_at: SystemTime,
    pub(super) request: IncomingRequest,
}

impl Partition {
    /// Reads partition `number` of `topic` as soon as it is fetched; `receiver` is told when something has come.
    pub(super) fn start(
        consumer: &Arc<BaseConsumer<Context>>,
        topic: &str,
        number: i32,
        next: i64,
        receiver: &Arc<Notify>,
    ) -> Option<Self> {
        let mut queue = consumer.split_partition_queue(topic, number)?;
        let receiver = Arc::clone(receiver);
        queue.set_nonempty_callback(move || receiver.notify_one());
        Some(Self {
            number,
            next,
            queue,
            first: None,
        })
    }

    /// Where whoever has it next goes on.
    pub(super) fn goes_on_at(&self) -> i64 {
        self.first.as_ref().map_or(self.next, |first| first.offset)
    }

    /// Looks at what has come until a request for `pattern` is the first; at `most` records at most, which it takes off.
    ///
    /// # Errors
    /// What ends the responder.
    pub(super) fn look(&mut self, pattern: &Pattern, most: &mut usize) -> Result<()> {
        while self.first.is_none() && *most > 0 {
            match self.queue.poll(Duration::ZERO) {
                Some(Ok(record)) => {
                    *most -= 1;
                    self.next = record.offset() + 1;
                    self.first = read(pattern, &record);
                }
                Some(Err(native)) => as_final(&native).map_or(Ok(()), Err)?,
                None => break,
            }
        }
        Ok(())
    }

    /// The request that waits longest.
    pub(super) fn first(&self) -> Option<&Waiting> {
        self.first.as_ref()
    }

    pub(super) fn take(&mut self) -> Option<Waiting> {
        self.first.take()
    }
}

/// The error if it ends the responder; others are over when the client library has mended them.
pub(super) fn as_final(native: &KafkaError) -> Option<Error> {
    tracing::debug!(error = %native, "reading requests");
    Some(from_client(native)).filter(is_final)
}

/// A request that is for a responder of `pattern` and in time.
fn read(pattern: &Pattern, record: &BorrowedMessage<'_>) -> Option<Waiting> {
    let stored_at = wire::stored_at(record.timestamp());
    let (mut reply_to, mut timeout, mut deadline) = (None, None, None);
    for (name, value) in sys::headers(record)? {
        let text = std::str::from_utf8(value).ok();
        if name == REPLY_TO.as_bytes() {
            reply_to = text;
        } else if name == TIMEOUT.as_bytes() {
            timeout = text.and_then(|text| text.parse::<u64>().ok());
        } else if name == DEADLINE.as_bytes() {
            deadline = text.and_then(|text| text.parse::<u64>().ok());
        }
    }
    let mut until = stored_at.checked_add(Duration::from_millis(timeout?))?;
    if let Some(deadline) = deadline {
        until = until.min(SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(deadline))?);
    }
    let left = until.duration_since(SystemTime::now()).ok()?;
    let deadline = Instant::now().checked_add(left)?;
    let position = wire::position(&record.topic().into(), record.offset(), stored_at);
    let unknown = Topic::new("unknown").ok()?;
    let decoded = wire::read(record, &position, &unknown, Extent::Whole).ok()?;
    let is_wanted = pattern.matches(&decoded.message.topic);
    is_wanted.then(|| Waiting {
        offset: record.offset(),
        stored_at,
        request: IncomingRequest {
            message: Arc::new(decoded.message),
            deadline,
            reply_to: ReplyTo::new(reply_to.unwrap_or_default()),
        },
    })
}
