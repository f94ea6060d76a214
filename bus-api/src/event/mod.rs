//! Typed events and their encodings.

mod codec;
mod codecs;
mod envelope;
#[cfg(feature = "json")]
mod json;
mod misfit;
#[cfg(feature = "msgpack")]
mod msgpack;
mod name;
mod octets;
pub(crate) mod private;
mod raw;
mod request;

use std::borrow::Cow;

use bytes::Bytes;

pub use codec::Codec;
pub use codecs::Codecs;
pub use envelope::Envelope;
#[cfg(feature = "json")]
pub use json::Json;
#[cfg(feature = "msgpack")]
pub use msgpack::MessagePack;
pub use name::EventName;
pub use octets::Octets;
pub use raw::Raw;
pub use request::Request;

use crate::contract::{Headers, Message, Metadata, Pattern, Topic};
use crate::error::Result;

/// A typed value that can be published: usually derived with `#[derive(Event)]`.
///
/// Written by hand it says the same in more lines:
///
/// ```
/// use std::borrow::Cow;
///
/// use bus_api::{Codec, Event, EventType, Pattern, Result, Topic};
/// use bytes::Bytes;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct OrderPlaced { id: u64, total: u64 }
///
/// impl Event for OrderPlaced {
///     fn types() -> Result<Vec<EventType>> {
///         Ok(vec![EventType::new("order.placed", Pattern::new("orders.placed")?)])
///     }
///     fn event_type(&self) -> Cow<'static, str> { "order.placed".into() }
///     fn topic(&self) -> Result<Topic> { Topic::new("orders.placed") }
///     fn key(&self) -> Option<Bytes> { Some(self.id.to_string().into()) }
///     fn encode(&self, codec: &dyn Codec) -> Result<Bytes> { codec.to_bytes(self) }
///     fn decode(_type: Option<&str>, payload: &Bytes, codec: &dyn Codec) -> Result<Self> {
///         codec.from_bytes(payload)
///     }
/// }
///
/// let codecs = bus_api::Codecs::default();
/// let payload = OrderPlaced { id: 7, total: 1 }.encode(codecs.default_codec().as_ref())?;
/// assert_eq!(payload, r#"{"id":7,"total":1}"#);
/// # Ok::<(), bus_api::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "must be an event",
    note = "derive it: `#[derive(Serialize, Deserialize, Event)] #[event(type = \"..\", topic = \"..\")]`"
)]
pub trait Event: Sized + Send + Sync + 'static {
    /// The types that a value of this can have: one for a struct, one per variant for an enum.
    ///
    /// An empty list means every type, on topics that the subscriber names; only [`Raw`] is so.
    ///
    /// # Errors
    /// `InvalidTopic` when a topic template is no pattern.
    fn types() -> Result<Vec<EventType>>;

    /// Whether a message of the type `event_type` can be read as this.
    fn takes(event_type: &str) -> bool {
        Self::types()
            .is_ok_and(|types| types.is_empty() || types.iter().any(|known| known.is(event_type)))
    }

    /// The type of this value, such as `order.placed`. An empty text means that the message names none.
    fn event_type(&self) -> Cow<'static, str>;

    /// Where this value is published.
    ///
    /// # Errors
    /// `InvalidTopic`, naming the field whose value is no token.
    fn topic(&self) -> Result<Topic>;

    /// What orders this value among others of its topic.
    fn key(&self) -> Option<Bytes>;

    /// CloudEvents `subject`: what in the context of the source this value is about.
    fn subject(&self) -> Option<Box<str>> {
        None
    }

    /// CloudEvents `dataschema`: where the schema of the payload is.
    fn dataschema(&self) -> Option<Box<str>> {
        None
    }

    /// The content type of what [`encode`](Self::encode) returns: the codec's, unless the value chooses
    /// its own encoding.
    fn content_type(&self, codec: &dyn Codec) -> Cow<'static, str> {
        codec.content_type().into()
    }

    /// The payload.
    ///
    /// # Errors
    /// `Encode`.
    fn encode(&self, codec: &dyn Codec) -> Result<Bytes>;

    /// Reads a payload of the type `event_type` (`None`: the message names none).
    ///
    /// # Errors
    /// `Decode`.
    fn decode(event_type: Option<&str>, payload: &Bytes, codec: &dyn Codec) -> Result<Self>;

    /// Reads a message with the codec that its content type asks for.
    ///
    /// # Errors
    /// `Decode`, also for a content type that no codec reads.
    fn from_message(message: &Message, codecs: &Codecs) -> Result<Self> {
        let codec = codecs.for_content_type(message.metadata.content_type.as_deref())?;
        let event_type = message.metadata.event_type.as_deref();
        Self::decode(event_type, &message.payload, codec.as_ref())
    }

    /// The message that publishing this value makes: topic, key, payload, and in `metadata` type, content
    /// type, subject and dataschema (an earlier subject or dataschema stays when the value has none).
    ///
    /// # Errors
    /// `InvalidTopic` and `Encode`.
    fn to_message(&self, codec: &dyn Codec, mut metadata: Metadata) -> Result<Message> {
        let topic = self.topic()?;
        metadata.event_type = Some(self.event_type()).filter(|name| !name.is_empty());
        metadata.content_type = Some(self.content_type(codec)).filter(|name| !name.is_empty());
        metadata.subject = self.subject().or(metadata.subject);
        metadata.dataschema = self.dataschema().or(metadata.dataschema);
        // Written in one piece: a message is large.
        Ok(Message {
            topic,
            key: self.key(),
            metadata,
            headers: Headers::new(),
            payload: self.encode(codec)?,
            dedup_id: None,
            targeted: None,
        })
    }
}

/// A type of event: its name, its old names, and where it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType {
    /// The name that is published.
    pub name: Cow<'static, str>,
    /// Names of old that are still understood.
    pub aliases: Vec<Cow<'static, str>>,
    /// The topics of its values.
    pub pattern: Pattern,
}

impl EventType {
    /// A type without names of old.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>, pattern: Pattern) -> Self {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            pattern,
        }
    }

    /// Whether a message of the type `name` is of this type, by its name or by one of old.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }
}
