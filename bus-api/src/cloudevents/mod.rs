//! Messages on the wire: CloudEvents 1.0, the same for all adapters.
//!
//! An adapter stores the payload as it is and, beside it, name-value pairs that [`write()`] gives it. On the way
//! back [`read()`] takes the pairs in any order, from this bus or from anybody else. Neither copies the payload.
//!
//! # Binary mode
//!
//! | what | Kafka headers | NATS headers | Redis Streams fields |
//! |---|---|---|---|
//! | attributes (`id`, `source`, `specversion`, `type`, `time`, `subject`, `dataschema`) | `ce_id` … | `ce-id` … | `ce_id` … |
//! | extensions `correlationid`, `causationid`, `expiresin`, `traceparent`, `tracestate` | `ce_…` | `ce-…` | `ce_…` |
//! | content type | `content-type` | `ce-datacontenttype` | `content-type` |
//! | payload | the record's value | the message's payload | `data` |
//! | values | UTF-8 | percent-encoded, as the NATS binding asks | UTF-8 |
//! | topic | `bus-topic` | the subject | the stream's name |
//! | key | the record's key | `bus-key` | `bus-key` |
//!
//! Kafka and NATS follow the bindings of the CloudEvents specification; for Redis Streams there is none, so
//! this table is it. `time` is RFC 3339 with microseconds; `expiresin` is a whole number of milliseconds
//! after the broker stored the message.
//!
//! # What is the bus's own
//!
//! - `bus-format` is the version of the rules of this section, now [`FORMAT`]. A newer one is refused as
//!   `Unsupported`. A message without it is another producer's.
//! - `bus-target` marks a copy for one subscription ([`Targeted`](crate::Targeted)): JSON that starts with
//!   its own version.
//! - An application header keeps its name and value. Where the wire would alter it, or where its name has a
//!   meaning on this wire, it is written as `bus-h-NAME` with name and value percent-encoded. Headers of a
//!   message without `bus-format` are never decoded: what merely looks encoded stays as it is.
//! - With [`Extent::Whole`], topic and key are always among the pairs (`bus-topic`, `bus-key`): for dead letters,
//!   whose place says neither.
//!
//! The dedup id is not among the pairs: it matters only while publishing, where each broker has its own way.
//!
//! # Messages of others
//!
//! A CloudEvent in structured mode (content type `application/cloudevents+json`) is unpacked. What a message
//! does not say is filled in with what the broker knows ([`Known`]): the id from its position, the
//! transport as the source, the time of storing. A message without any attribute has no type.
//!
//! Attributes that are there but damaged make the message [`malformed`](Decoded::malformed): the rest is
//! read, nothing panics, and the core writes it to the dead letters.

mod attributes;
mod binary;
mod dead_letter;
mod read;
mod redis;
mod structured;
mod target;
mod text;
mod time;

use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;

pub use binary::write;
pub use dead_letter::{dead_letter_details, dead_letter_from};
pub use read::read;
pub use redis::read_entry;
pub use structured::{STRUCTURED, to_structured};

use crate::contract::{Message, Position, Topic};

/// The newest format of the bus's own pairs that this release reads, and the one that it writes.
pub const FORMAT: u8 = 1;

/// The wire that the pairs are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Style {
    /// Headers of a Kafka record: any bytes.
    Kafka,
    /// Headers of a NATS message: trimmed, on one line, so values are kept in printable ASCII.
    Nats,
    /// Fields of a Redis stream entry: any bytes; the payload is one of them.
    Redis,
}

impl Style {
    /// What stands before the name of an attribute.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Kafka | Self::Redis => "ce_",
            Self::Nats => "ce-",
        }
    }

    /// The name of the pair that holds the content type in binary mode.
    const fn content_type(self) -> &'static str {
        match self {
            Self::Kafka | Self::Redis => CONTENT_TYPE,
            Self::Nats => "ce-datacontenttype",
        }
    }
}

/// How much of a message the pairs hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// What the place of a message in its log does not say: on Kafka not the key, on NATS and Redis not
    /// the topic.
    Usual,
    /// Everything but the payload.
    Whole,
}

impl Extent {
    const fn has_topic(self, style: Style) -> bool {
        matches!((self, style), (Self::Whole, _) | (_, Style::Kafka))
    }

    const fn has_key(self, style: Style) -> bool {
        !matches!((self, style), (Self::Usual, Style::Kafka))
    }
}

/// What the broker knows about a message: used where the message itself says nothing.
#[derive(Clone)]
pub struct Known<'a> {
    /// The topic, from the subject, the stream's name or the adapter's map.
    pub topic: Topic,
    /// The record's key, where the broker has one.
    pub key: Option<Bytes>,
    /// What identifies it on this broker: usually its position.
    pub id: &'a dyn fmt::Display,
    /// The transport's name.
    pub transport: &'static str,
    /// When the broker stored it.
    pub stored_at: SystemTime,
}

impl<'a> Known<'a> {
    /// What is known of a message at `position`, without a key.
    #[must_use]
    pub fn at(position: &'a Position, topic: Topic, transport: &'static str) -> Self {
        Self {
            topic,
            key: None,
            id: position,
            transport,
            stored_at: position.stored_at(),
        }
    }
}

impl fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known")
            .field("topic", &self.topic)
            .field("id", &format_args!("{}", self.id))
            .field("transport", &self.transport)
            .field("stored_at", &self.stored_at)
            .finish_non_exhaustive()
    }
}

/// A message as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The message; of a damaged one, what could be read, with the payload as it was stored.
    pub message: Message,
    /// What could not be read: names attributes, never values. Belongs into
    /// [`Delivery::malformed`](crate::Delivery::malformed).
    pub malformed: Option<Box<str>>,
}

const CONTENT_TYPE: &str = "content-type";
const DATA: &str = "data";
const OWN: &str = "bus-";
const OWN_FORMAT: &str = "bus-format";
const OWN_TOPIC: &str = "bus-topic";
const OWN_KEY: &str = "bus-key";
const OWN_TARGET: &str = "bus-target";
const OWN_HEADER: &str = "bus-h-";
