//! What was fetched, kept from whoever polls while there is no room for it.

use std::marker::PhantomData;
use std::ptr;

use bus_api::Result;
use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

use super::{Queue, text};
use crate::error::senseless;

/// A queue between the partitions of a consumer and what it polls; events of the group pass by it. While it is closed,
/// what was fetched stays in it, and librdkafka's own bounds of its length (`queued.*`) end fetching.
///
/// Pausing partitions instead throws away what was fetched, and the thread that fetches is not woken when they go on
/// (librdkafka 2.12): it sleeps for up to a second.
pub(crate) struct Gate<'a> {
    client: *mut native::rd_kafka_t,
    kept: Queue,
    polled: Queue,
    consumer: PhantomData<&'a ()>,
}

impl<'a> Gate<'a> {
    /// An open one, which no partition is led through yet.
    ///
    /// # Errors
    /// `Internal`: the consumer has no queue, which one in a group always has.
    pub(crate) fn new<C: ConsumerContext>(consumer: &'a BaseConsumer<C>) -> Result<Self> {
        let client = consumer.client().native_ptr();
        // SAFETY: the consumer is alive; the references to both queues are given back by `Queue`.
        let gate = unsafe {
            let polled = native::rd_kafka_queue_get_consumer(client);
            if polled.is_null() {
                return Err(senseless("asking for the queue of a consumer"));
            }
            Self {
                client,
                kept: Queue::new(client),
                polled: Queue(polled),
                consumer: PhantomData,
            }
        };
        gate.open();
        Ok(gate)
    }

    /// Leads what is fetched of a partition through the gate: from when it is assigned until it is stopped.
    ///
    /// # Errors
    /// `Internal` for a name that cannot be one of a topic.
    pub(crate) fn lead(&self, topic: &str, partition: i32) -> Result<()> {
        let topic = text(topic)?;
        // SAFETY: the consumer and the name are alive; the reference to the queue is given back by `Queue`. librdkafka
        // leaves a queue that was forwarded so as it is when the partition is assigned.
        unsafe {
            let fetched =
                native::rd_kafka_queue_get_partition(self.client, topic.as_ptr(), partition);
            if fetched.is_null() {
                return Err(senseless("asking for the queue of a partition"));
            }
            native::rd_kafka_queue_forward(Queue(fetched).0, self.kept.0);
        }
        Ok(())
    }

    /// What was kept comes first.
    pub(crate) fn open(&self) {
        // SAFETY: both queues are alive.
        unsafe { native::rd_kafka_queue_forward(self.kept.0, self.polled.0) }
    }

    /// What was let through already still comes.
    pub(crate) fn close(&self) {
        // SAFETY: the queue is alive.
        unsafe { native::rd_kafka_queue_forward(self.kept.0, ptr::null_mut()) }
    }
}

impl Drop for Gate<'_> {
    /// What it keeps is dropped with it, but not what is in the queue behind it: events of the group.
    fn drop(&mut self) {
        self.close();
    }
}
