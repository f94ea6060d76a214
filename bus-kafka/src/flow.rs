//! How much waits in this process: what a consumer has taken, and what its client library fetches ahead.

use bus_api::Result;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::error::from_client;
use crate::sys::Gate;

/// Messages that wait before no more are taken, at least.
const MOST_WAITING: usize = 2_000;
/// Bytes that wait before no more are taken.
const MOST_BYTES: usize = 8 << 20;
/// Messages that the client library tries to have fetched; an answer of the brokers may bring more.
const AHEAD: &str = "4000";
/// Kilobytes that it has fetched before it asks for no more.
const KILOBYTES_AHEAD: &str = "8192";
/// How soon the client library looks again whether it may fetch, in milliseconds.
const LOOKS: &str = "10";

/// Bounds what a consumer fetches ahead.
pub(crate) fn bound(client: &mut ClientConfig) {
    client
        .set("fetch.queue.backoff.ms", LOOKS)
        .set("queued.min.messages", AHEAD)
        .set("queued.max.messages.kbytes", KILOBYTES_AHEAD);
}

/// Lets messages through as long as there is room for them.
pub(crate) struct Flow<'a> {
    gate: Gate<'a>,
    is_open: bool,
    /// Messages that wait before no more are taken.
    most: usize,
}

impl<'a> Flow<'a> {
    /// # Errors
    /// `Internal`: the consumer has no queue, which one in a group always has.
    pub(crate) fn new<C: ConsumerContext>(
        consumer: &'a BaseConsumer<C>,
        max_in_flight: usize,
    ) -> Result<Self> {
        Ok(Self {
            gate: Gate::new(consumer)?,
            is_open: true,
            most: MOST_WAITING.max(max_in_flight * 2),
        })
    }

    /// From now on controls these partitions, too, which are about to be assigned; those that they were before are
    /// unassigned already.
    ///
    /// # Errors
    /// `Internal` for a name that cannot be one of a topic; `Unavailable` when the client library ends.
    pub(crate) fn add<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        partitions: &TopicPartitionList,
    ) -> Result<()> {
        // A partition that was unassigned is stopped a little later, and its queue leads nowhere then. What is asked
        // of the client library is done in order: with this answer, it has happened.
        consumer
            .assignment()
            .map_err(|native| from_client(&native))?;
        for partition in partitions.elements() {
            self.gate.lead(partition.topic(), partition.partition())?;
        }
        Ok(())
    }

    /// Lets no more through when so much waits that there is no room, and goes on when half of it is gone.
    pub(crate) fn control(&mut self, waiting: usize, bytes: usize) {
        let is_full = waiting >= self.most || bytes >= MOST_BYTES;
        let is_low = waiting < self.most / 2 && bytes < MOST_BYTES / 2;
        match self.is_open {
            true if is_full => self.gate.close(),
            false if is_low => self.gate.open(),
            _ => return,
        }
        self.is_open = !self.is_open;
    }
}
