//! What rdkafka does not offer, or cannot do without a panic: the only unsafe code of the bus.
//!
//! rdkafka 0.39 panics on header names and commit metadata that are not UTF-8, gives one error for a commit
//! of many partitions, hides whether a failed message may be stored, allocates for each record that is sent, and
//! wraps none of the operations in [`admin`].
#![expect(
    unsafe_code,
    reason = "calls of librdkafka that rdkafka does not wrap, or wraps with a panic"
)]

mod admin;
mod aside;
mod events;
mod gate;
mod headers;
mod producing;

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::time::Duration;

use bus_api::Result;
use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::TopicPartitionList;

pub(crate) use self::admin::{
    Described, When, alter_group_offsets, delete_group, describe_groups, describe_topics,
    group_offsets, list_offsets,
};
pub(crate) use self::aside::Aside;
pub(crate) use self::events::serve;
pub(crate) use self::gate::Gate;
pub(crate) use self::headers::Headers;
pub(crate) use self::producing::{Outgoing, Producing, Report};
use crate::error::{from_client, from_code, from_number, senseless};

/// A committed offset with its metadata, or an offset to be committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Element {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// Negative: none.
    pub(crate) offset: i64,
    pub(crate) metadata: Vec<u8>,
    /// 0: no error.
    pub(crate) error: i32,
}

/// Headers as raw names and values; a null value is an empty one. `None`: they cannot be parsed.
pub(crate) fn headers<'a>(message: &'a BorrowedMessage<'_>) -> Option<Vec<(&'a [u8], &'a [u8])>> {
    let mut found = Vec::new();
    // SAFETY: the message outlives `'a`, and with it its headers, which nothing else touches.
    unsafe {
        let mut list: *mut native::rd_kafka_headers_t = ptr::null_mut();
        match native::rd_kafka_message_headers(message.ptr(), &mut list) {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            Code::RD_KAFKA_RESP_ERR__NOENT => return Some(found),
            _ => return None,
        }
        for index in 0..native::rd_kafka_header_cnt(list) {
            let (mut name, mut value, mut size): (*const c_char, *const c_void, usize) =
                (ptr::null(), ptr::null(), 0);
            let code =
                native::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut size);
            if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            let value = if value.is_null() || size == 0 {
                &[][..]
            } else {
                std::slice::from_raw_parts(value.cast::<u8>(), size)
            };
            found.push((CStr::from_ptr(name).to_bytes(), value));
        }
    }
    Some(found)
}

/// What the consumer's group has committed of these partitions.
pub(crate) fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: TopicPartitionList,
    patience: Duration,
) -> Result<Vec<Element>> {
    let found = consumer
        .committed_offsets(partitions, patience)
        .map_err(|native| from_client(&native))?;
    let found = elements(&found);
    // An error of one partition is none of the whole, and leaves it without an offset: as if nothing had been
    // committed.
    match found.iter().find(|element| element.error != 0) {
        Some(failed) => Err(from_number(failed.error).with("topic", &failed.topic)),
        None => Ok(found),
    }
}

/// The elements of a list.
pub(crate) fn elements(list: &TopicPartitionList) -> Vec<Element> {
    // SAFETY: the list is alive.
    unsafe { read_list(list.ptr()) }
}

/// # Safety
/// `list` is null or a valid list.
unsafe fn read_list(list: *const native::rd_kafka_topic_partition_list_t) -> Vec<Element> {
    // SAFETY: a valid list has `cnt` valid elements.
    unsafe {
        let Some(list) = list.as_ref() else {
            return Vec::new();
        };
        (0..usize::try_from(list.cnt).unwrap_or(0))
            .map(|index| read_element(&*list.elems.add(index)))
            .collect()
    }
}

/// # Safety
/// `element` is a valid element.
unsafe fn read_element(element: &native::rd_kafka_topic_partition_t) -> Element {
    // SAFETY: the name is a C string, and the metadata has the size that stands beside it.
    unsafe {
        Element {
            topic: CStr::from_ptr(element.topic).to_string_lossy().into_owned(),
            partition: element.partition,
            offset: element.offset,
            metadata: if element.metadata.is_null() || element.metadata_size == 0 {
                Vec::new()
            } else {
                std::slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size)
                    .to_vec()
            },
            error: element.err as i32,
        }
    }
}

/// A list that is freed when dropped.
struct List(*mut native::rd_kafka_topic_partition_list_t);

impl List {
    fn of<'a>(items: impl IntoIterator<Item = &'a Element>) -> Result<Self> {
        // SAFETY: elements are added to a list that was just made; librdkafka frees the metadata with
        // `free`, so that it comes from `malloc`.
        unsafe {
            unsafe extern "C" {
                fn malloc(size: usize) -> *mut c_void;
            }
            let list = Self(native::rd_kafka_topic_partition_list_new(8));
            for item in items {
                let topic = text(&item.topic)?;
                let element = &mut *native::rd_kafka_topic_partition_list_add(
                    list.0,
                    topic.as_ptr(),
                    item.partition,
                );
                element.offset = item.offset;
                if !item.metadata.is_empty() {
                    let copy = malloc(item.metadata.len());
                    if copy.is_null() {
                        return Err(senseless("an allocation"));
                    }
                    ptr::copy_nonoverlapping(
                        item.metadata.as_ptr(),
                        copy.cast::<u8>(),
                        item.metadata.len(),
                    );
                    element.metadata = copy;
                    element.metadata_size = item.metadata.len();
                }
            }
            Ok(list)
        }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: it is freed once.
        unsafe { native::rd_kafka_topic_partition_list_destroy(self.0) }
    }
}

/// A queue of a client for one answer.
struct Queue(*mut native::rd_kafka_queue_t);

impl Queue {
    /// # Safety
    /// `client` is a valid client.
    unsafe fn new(client: *mut native::rd_kafka_t) -> Self {
        // SAFETY: as promised.
        Self(unsafe { native::rd_kafka_queue_new(client) })
    }

    fn wait(&self, patience: Duration) -> Option<Event> {
        let millis = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive.
        let event = unsafe { native::rd_kafka_queue_poll(self.0, millis) };
        (!event.is_null()).then_some(Event(event))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: it is freed once.
        unsafe { native::rd_kafka_queue_destroy(self.0) }
    }
}

/// An answer.
struct Event(*mut native::rd_kafka_event_t);

impl Event {
    fn code(&self) -> Code {
        // SAFETY: the event is alive.
        unsafe { native::rd_kafka_event_error(self.0) }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it is freed once.
        unsafe { native::rd_kafka_event_destroy(self.0) }
    }
}

fn text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| senseless("a name with a zero byte"))
}

/// A commit that was sent. Dropping it does not undo it.
pub(crate) struct Commit {
    queue: Queue,
}

// SAFETY: queues of librdkafka may be used from any thread.
unsafe impl Send for Commit {}

impl Commit {
    /// Sends a commit of all `items`, from any thread.
    ///
    /// # Errors
    /// librdkafka did not take it.
    pub(crate) fn send<C: ConsumerContext>(
        consumer: &BaseConsumer<C>,
        items: &[Element],
    ) -> Result<Self> {
        // SAFETY: the consumer is alive; librdkafka copies the list.
        unsafe {
            let list = List::of(items)?;
            let client = consumer.client().native_ptr();
            let queue = Queue::new(client);
            match native::rd_kafka_commit_queue(client, list.0, queue.0, None, ptr::null_mut()) {
                Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(Self { queue }),
                code => Err(from_code(code.into())),
            }
        }
    }

    /// Waits for the answer: every partition with its own error. `None`: not yet. The commit may take effect
    /// at any time until it is answered, so that no other one is sent before.
    pub(crate) fn wait(&self, patience: Duration) -> Option<Result<Vec<Element>>> {
        let event = self.queue.wait(patience)?;
        // SAFETY: the event is alive while its list is read.
        let each = unsafe { read_list(native::rd_kafka_event_topic_partition_list(event.0)) };
        match event.code() {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => Some(Ok(each)),
            code if each.iter().all(|element| element.error == 0) => {
                Some(Err(from_code(code.into())))
            }
            _ => Some(Ok(each)),
        }
    }
}

/// The end of a partition as of the last answer to a fetch.
pub(crate) fn known_end<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> Option<i64> {
    let topic = text(topic).ok()?;
    let (mut low, mut high) = (0, -1);
    // SAFETY: the consumer, the name and the two numbers are alive.
    let code = unsafe {
        native::rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            partition,
            &mut low,
            &mut high,
        )
    };
    (code == Code::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}
