//! Messages without a Rust type.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::contract::{Message, Topic};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Codec, Codecs, Event, EventType};

/// A message without a Rust type: published as it stands, received as it came.
///
/// It is an [`Event`] without types of its own: it stands for every type, on the topics that the
/// subscriber names.
///
/// ```
/// use bus_api::{Codecs, Raw, Topic};
///
/// let raw = Raw::new(Topic::new("orders.placed")?, "order.placed", "application/json", r#"{"id":7}"#);
/// assert_eq!(raw.decode_as::<serde_json::Value>(&Codecs::default())?["id"], 7);
/// # Ok::<(), bus_api::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Raw {
    /// Where it is published.
    pub topic: Topic,
    /// The type of event; messages of other producers may have none.
    pub event_type: Option<Cow<'static, str>>,
    /// How the payload is encoded; messages of other producers may not say.
    pub content_type: Option<Cow<'static, str>>,
    /// What orders it; no key means that no order is promised.
    pub key: Option<Bytes>,
    /// The payload, shared with the message that it came from.
    pub payload: Bytes,
}

impl Raw {
    /// A message without a key.
    #[must_use]
    pub fn new(
        topic: Topic,
        event_type: impl Into<Cow<'static, str>>,
        content_type: impl Into<Cow<'static, str>>,
        payload: impl Into<Bytes>,
    ) -> Self {
        Self {
            topic,
            event_type: Some(event_type.into()),
            content_type: Some(content_type.into()),
            key: None,
            payload: payload.into(),
        }
    }

    /// The same message, ordered by `key` among others of its topic.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Reads the payload with the codec that the content type asks for.
    ///
    /// # Errors
    /// `Decode`, also for a content type that no codec reads.
    pub fn decode_as<T: serde::de::DeserializeOwned>(&self, codecs: &Codecs) -> Result<T> {
        codecs
            .for_content_type(self.content_type.as_deref())?
            .from_bytes(&self.payload)
    }
}

impl Event for Raw {
    fn types() -> Result<Vec<EventType>> {
        Ok(Vec::new())
    }

    fn event_type(&self) -> Cow<'static, str> {
        self.event_type.clone().unwrap_or_default()
    }

    fn topic(&self) -> Result<Topic> {
        Ok(self.topic.clone())
    }

    fn key(&self) -> Option<Bytes> {
        self.key.clone()
    }

    fn content_type(&self, _codec: &dyn Codec) -> Cow<'static, str> {
        self.content_type.clone().unwrap_or_default()
    }

    fn encode(&self, _codec: &dyn Codec) -> Result<Bytes> {
        Ok(self.payload.clone())
    }

    fn decode(_type: Option<&str>, _payload: &Bytes, _codec: &dyn Codec) -> Result<Self> {
        Err(Error::new(
            ErrorKind::Decode,
            "a raw message is read from the whole message, not from its payload",
        ))
    }

    fn from_message(message: &Message, _codecs: &Codecs) -> Result<Self> {
        Ok(Self {
            topic: message.topic.clone(),
            event_type: message.metadata.event_type.clone(),
            content_type: message.metadata.content_type.clone(),
            key: message.key.clone(),
            payload: message.payload.clone(),
        })
    }
}

impl fmt::Debug for Raw {
    /// Without the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw")
            .field("topic", &self.topic)
            .field("event_type", &self.event_type)
            .field("content_type", &self.content_type)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::contract::{MessageId, Metadata};

    #[test]
    fn a_raw_message_leads_back_to_itself() {
        let codecs = Codecs::default();
        let full = Raw::new(Topic::new("a.b").unwrap(), "t", "image/png", "secret").with_key("k");
        let bare = Raw {
            event_type: None,
            content_type: None,
            key: None,
            ..full.clone()
        };
        for raw in [full, bare] {
            let metadata = Metadata::new(MessageId::new("1"), "s".into(), SystemTime::UNIX_EPOCH);
            let codec = codecs.default_codec().as_ref();
            let message = raw.to_message(codec, metadata).unwrap();
            assert_eq!(message.metadata.event_type, raw.event_type);
            assert_eq!(Raw::from_message(&message, &codecs).unwrap(), raw);
            assert!(!format!("{raw:?}").contains("secret"));
        }
    }
}
