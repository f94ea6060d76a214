//! Messages as they travel between the core and an adapter.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::contract::attempt::AttemptRecord;
use crate::contract::headers::Headers;
use crate::contract::position::Position;
use crate::contract::subscription::SubscriptionId;
use crate::contract::topic::Topic;

/// The identity of a message: the same on every redelivery, retry and redrive.
///
/// The bus makes UUIDs of version 7; other producers' identities are kept letter by letter.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(Id);

/// Bytes of a canonical UUID as text.
pub(crate) const UUID_LENGTH: usize = Hyphenated::LENGTH;

/// A canonical UUID needs no allocation; every other text does.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Id {
    Uuid(Uuid),
    Text(Arc<str>),
}

impl MessageId {
    /// The identity with this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        match Uuid::try_parse(text) {
            Ok(uuid) if uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text => {
                uuid.into()
            }
            _ => Self(Id::Text(text.into())),
        }
    }

    /// The text of it, which a UUID is written to `buffer` for.
    pub(crate) fn text<'a>(&'a self, buffer: &'a mut [u8; UUID_LENGTH]) -> &'a str {
        match &self.0 {
            Id::Uuid(uuid) => uuid.hyphenated().encode_lower(buffer),
            Id::Text(text) => text,
        }
    }

    /// Whether it is the empty text.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.0, Id::Text(text) if text.is_empty())
    }
}

impl From<Uuid> for MessageId {
    fn from(uuid: Uuid) -> Self {
        Self(Id::Uuid(uuid))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Id::Uuid(uuid) => fmt::Display::fmt(uuid, f),
            Id::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

/// W3C trace context of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The `traceparent` field.
    pub traceparent: Box<str>,
    /// The `tracestate` field, when there is one.
    pub tracestate: Option<Box<str>>,
}

/// What a message says about itself: the CloudEvents attributes.
///
/// A message of another producer may lack a type; the rest is filled in with what the broker knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// CloudEvents `id`.
    pub id: MessageId,
    /// CloudEvents `type`, such as `order.placed`.
    pub event_type: Option<Cow<'static, str>>,
    /// CloudEvents `source`: the service that published it.
    pub source: Arc<str>,
    /// CloudEvents `time`: when it was published, by the publisher's clock, in whole microseconds.
    pub time: SystemTime,
    /// CloudEvents `datacontenttype`.
    pub content_type: Option<Cow<'static, str>>,
    /// CloudEvents `subject`.
    pub subject: Option<Box<str>>,
    /// CloudEvents `dataschema`.
    pub dataschema: Option<Box<str>>,
    /// Extension `correlationid`: shared by all messages of one business transaction.
    pub correlation_id: Option<Box<str>>,
    /// Extension `causationid`: the id of the message whose handling published this one.
    pub causation_id: Option<Box<str>>,
    /// Extensions `traceparent` and `tracestate`.
    pub trace: Option<TraceContext>,
    /// Extension `expiresin`: how long after the broker stored it a handler may still see it, in whole
    /// milliseconds.
    pub expires_in: Option<Duration>,
}

impl Metadata {
    /// Metadata with the three attributes that are always there; all others unset.
    #[must_use]
    pub fn new(id: MessageId, source: Arc<str>, time: SystemTime) -> Self {
        Self {
            id,
            event_type: None,
            source,
            time,
            content_type: None,
            subject: None,
            dataschema: None,
            correlation_id: None,
            causation_id: None,
            trace: None,
            expires_in: None,
        }
    }
}

/// Where a message was first stored: what stays the same when it is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its first position.
    pub position: Position,
    /// The broker's time of storing it there.
    pub stored_at: SystemTime,
}

/// The mark of a copy that is meant for one subscription; all others settle it unseen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targeted {
    /// The only subscription whose handler may see it.
    pub subscription: SubscriptionId,
    /// Where the first copy was stored.
    pub origin: Origin,
    /// How often it was redriven: 1 for the first redrive, 0 for a copy that only waits.
    pub generation: u32,
    /// The copy rests until then (Kafka only, beyond what a member parks itself).
    pub not_before: Option<SystemTime>,
    /// What the attempts so far left behind, for a copy that only waits.
    pub record: Option<AttemptRecord>,
}

/// A message: topic, key, metadata, headers and payload.
///
/// `Debug` shows neither the payload nor header values.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it is published.
    pub topic: Topic,
    /// What orders it; no key means that no order is promised.
    pub key: Option<Bytes>,
    /// The CloudEvents attributes.
    pub metadata: Metadata,
    /// Application headers.
    pub headers: Headers,
    /// The encoded value; may be empty.
    pub payload: Bytes,
    /// A second message of the same topic and dedup id within the window is not stored.
    pub dedup_id: Option<Box<str>>,
    /// Set on a copy for one subscription.
    pub targeted: Option<Box<Targeted>>,
}

impl Message {
    /// A message without key, headers and options.
    #[must_use]
    pub fn new(topic: Topic, metadata: Metadata, payload: Bytes) -> Self {
        Self {
            topic,
            key: None,
            metadata,
            headers: Headers::new(),
            payload,
            dedup_id: None,
            targeted: None,
        }
    }

    /// Bytes of key, headers and payload: what bounds count.
    #[must_use]
    pub fn size(&self) -> usize {
        self.payload.len() + self.headers.size() + self.key.as_ref().map_or(0, Bytes::len)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic)
            .field("id", &self.metadata.id)
            .field("type", &self.metadata.event_type)
            .field("headers", &self.headers)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_kept_letter_by_letter() {
        for text in [
            "0190d6c4-3c2a-7a5e-8000-000000000001",
            "0190D6C4-3C2A-7A5E-8000-000000000001",
            "",
            "any text",
        ] {
            assert_eq!(MessageId::new(text).to_string(), text);
        }
    }

    #[test]
    fn debug_shows_no_payload() {
        let metadata = Metadata::new(MessageId::new("1"), "test".into(), SystemTime::UNIX_EPOCH);
        let message = Message::new(
            Topic::new("a").unwrap(),
            metadata,
            Bytes::from_static(b"secret"),
        );
        assert!(!format!("{message:?}").contains("secret"));
    }
}
