//! A producer of librdkafka. rdkafka's own looks the topic up by its name for each record, wants an allocation for each
//! that is on its way, and tells of them one by one.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus_api::Result;
use rdkafka::ClientConfig;
use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::bindings::rd_kafka_vtype_t as Tag;
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaType;

use super::events::hear;
use super::{Event, Headers, Queue, text};
use crate::error::{from_client, senseless};
use crate::link::Link;

/// Any partition: the partitioner chooses.
const ANY_PARTITION: i32 = -1;

/// A record that is handed over; key and payload are copied.
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a Arc<str>,
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) headers: Headers,
    /// `None` is a deletion in a compacted topic.
    pub(crate) payload: Option<&'a [u8]>,
}

/// What became of a record.
pub(crate) struct Report {
    /// What it was sent with.
    pub(crate) number: usize,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// When it was stored, in milliseconds; negative: not known.
    pub(crate) millis: i64,
    pub(crate) failed: Option<RDKafkaErrorCode>,
    /// Of one that failed: whether it may be stored all the same.
    pub(crate) may_be_stored: bool,
}

/// A topic as a producer knows it.
#[derive(Clone, Copy)]
struct Handle(NonNull<native::rd_kafka_topic_t>);

/// A producer.
pub(crate) struct Producing {
    /// Kept as long as the producer is, as librdkafka itself does with every topic that it has seen.
    topics: Mutex<HashMap<Arc<str>, Handle>>,
    queue: Queue,
    // The last to be dropped: the others are its parts.
    client: Client<Link>,
}

// SAFETY: clients, queues and topics of librdkafka may be used from any thread.
unsafe impl Send for Producing {}
// SAFETY: as above.
unsafe impl Sync for Producing {}

impl Producing {
    /// # Errors
    /// `InvalidConfig` for properties that the client library refuses.
    pub(crate) fn start(config: &ClientConfig, link: Link) -> Result<Self> {
        let refused = |native| from_client(&native);
        let settings = config.create_native_config().map_err(refused)?;
        let events = native::RD_KAFKA_EVENT_DR
            | native::RD_KAFKA_EVENT_ERROR
            | native::RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH;
        // SAFETY: the settings are alive.
        unsafe { native::rd_kafka_conf_set_events(settings.ptr(), events) };
        let client =
            Client::new(config, settings, RDKafkaType::RD_KAFKA_PRODUCER, link).map_err(refused)?;
        // SAFETY: the client is alive; the reference to its queue is given back by `Queue`.
        let queue = Queue(unsafe { native::rd_kafka_queue_get_main(client.native_ptr()) });
        Ok(Self {
            topics: Mutex::default(),
            queue,
            client,
        })
    }

    /// For records that are sent one after the other.
    pub(crate) fn sending(&self) -> Sending<'_> {
        Sending {
            producing: self,
            last: None,
        }
    }

    /// Waits for what there is to tell, and gives what became of records to `hear_of`. The records are freed when it has
    /// returned: whoever waits for them does not wait for that.
    pub(crate) fn poll(&self, patience: Duration, hear_of: impl FnOnce(Reports<'_>)) {
        let Some(event) = self.queue.wait(patience) else {
            return;
        };
        // SAFETY: the event is alive.
        match unsafe { native::rd_kafka_event_type(event.0) } {
            native::RD_KAFKA_EVENT_DR => hear_of(Reports(&event)),
            _ => hear(&self.client, &event),
        }
    }

    /// Ends a wait for what there is to tell.
    pub(crate) fn wake(&self) {
        // SAFETY: the queue is alive.
        unsafe { native::rd_kafka_queue_yield(self.queue.0) }
    }

    /// Gives up all records: what became of them is told.
    pub(crate) fn give_up(&self) {
        let all = native::RD_KAFKA_PURGE_F_QUEUE | native::RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: the client is alive.
        unsafe { native::rd_kafka_purge(self.client.native_ptr(), all) };
    }

    /// Records and reports that nobody has heard of.
    pub(crate) fn in_flight(&self) -> i32 {
        // SAFETY: the client is alive.
        unsafe { native::rd_kafka_outq_len(self.client.native_ptr()) }
    }

    fn topic(&self, name: &Arc<str>) -> Result<Handle> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = topics.get(name) {
            return Ok(*known);
        }
        let c_name = text(name)?;
        // SAFETY: the client and the name are alive; `drop` gives the topic back.
        let topic = unsafe {
            native::rd_kafka_topic_new(self.client.native_ptr(), c_name.as_ptr(), ptr::null_mut())
        };
        let handle = Handle(NonNull::new(topic).ok_or_else(|| senseless("a name of a topic"))?);
        topics.insert(Arc::clone(name), handle);
        Ok(handle)
    }
}

impl Drop for Producing {
    fn drop(&mut self) {
        let topics = self
            .topics
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        for (_, topic) in topics.drain() {
            // SAFETY: each is given back once, while the client is alive, and used no more.
            unsafe { native::rd_kafka_topic_destroy(topic.0.as_ptr()) }
        }
    }
}

/// Sends records of which neighbours often have the same topic.
pub(crate) struct Sending<'a> {
    producing: &'a Producing,
    last: Option<(Arc<str>, Handle)>,
}

impl Sending<'_> {
    /// Queues a record; the report of it has this `number`.
    ///
    /// # Errors
    /// It was not taken, and there will be no report.
    pub(crate) fn send(
        &mut self,
        record: Outgoing<'_>,
        number: usize,
    ) -> std::result::Result<(), RDKafkaErrorCode> {
        let topic = match &self.last {
            Some((name, topic)) if name == record.topic => *topic,
            _ => {
                let topic = self.producing.topic(record.topic);
                let topic = topic.map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
                self.last = Some((Arc::clone(record.topic), topic));
                topic
            }
        };
        let (key, key_size) = parts(record.key);
        let (payload, payload_size) = parts(record.payload);
        // SAFETY: client and topic are alive, and each tag is followed by what it promises. Key and payload are copied.
        // The number is none but a number: librdkafka gives it back as it is. The headers are librdkafka's from here
        // on if it takes the record, and ours if not.
        let code = unsafe {
            native::rd_kafka_producev(
                self.producing.client.native_ptr(),
                Tag::RD_KAFKA_VTYPE_RKT,
                topic.0.as_ptr(),
                Tag::RD_KAFKA_VTYPE_PARTITION,
                record.partition.unwrap_or(ANY_PARTITION),
                Tag::RD_KAFKA_VTYPE_MSGFLAGS,
                native::RD_KAFKA_MSG_F_COPY,
                Tag::RD_KAFKA_VTYPE_VALUE,
                payload,
                payload_size,
                Tag::RD_KAFKA_VTYPE_KEY,
                key,
                key_size,
                Tag::RD_KAFKA_VTYPE_OPAQUE,
                ptr::without_provenance_mut::<c_void>(number),
                Tag::RD_KAFKA_VTYPE_HEADERS,
                record.headers.pointer(),
                Tag::RD_KAFKA_VTYPE_END,
            )
        };
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(code.into());
        }
        record.headers.handed_over();
        Ok(())
    }
}

/// Pointer and size; of nothing, a null pointer.
fn parts(bytes: Option<&[u8]>) -> (*const c_void, usize) {
    bytes.map_or((ptr::null(), 0), |bytes| {
        (bytes.as_ptr().cast(), bytes.len())
    })
}

/// What became of records that one answer of a broker is about.
pub(crate) struct Reports<'a>(&'a Event);

impl Iterator for Reports<'_> {
    type Item = Report;

    fn next(&mut self) -> Option<Report> {
        // SAFETY: the event is alive, and with it the messages in it.
        let message = unsafe { native::rd_kafka_event_message_next(self.0.0).as_ref() };
        message.map(report)
    }
}

fn report(message: &native::rd_kafka_message_t) -> Report {
    // SAFETY: the message is alive.
    let (millis, status) = unsafe {
        (
            native::rd_kafka_message_timestamp(message, ptr::null_mut()),
            native::rd_kafka_message_status(message),
        )
    };
    let is_stored = message.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR;
    Report {
        number: message._private.addr(),
        partition: message.partition,
        offset: message.offset,
        millis,
        failed: (!is_stored).then(|| message.err.into()),
        may_be_stored: status != native::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED,
    }
}
