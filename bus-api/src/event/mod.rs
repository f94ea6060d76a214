//! Typed events and their encodings.

mod codec;

use std::borrow::Cow;

use bytes::Bytes;

pub use codec::Codec;

use crate::contract::{Pattern, Topic};
use crate::error::Result;

/// A typed value that can be published: usually derived with `#[derive(Event)]`.
pub trait Event: Sized + Send + Sync + 'static {
    /// The types that a value of this can have: one for a struct, one per variant for an enum.
    ///
    /// # Errors
    /// `InvalidTopic` when a topic template is no pattern.
    fn types() -> Result<Vec<EventType>>;

    /// The type of this value, such as `order.placed`.
    fn event_type(&self) -> Cow<'static, str>;

    /// Where this value is published.
    ///
    /// # Errors
    /// `InvalidTopic`, naming the field whose value is no token.
    fn topic(&self) -> Result<Topic>;

    /// What orders this value among others of its topic.
    fn key(&self) -> Option<Bytes>;

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
}

/// A type of event: its name, its old names, and where it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType {
    /// The name that is published.
    pub name: Cow<'static, str>,
    /// Names of old that are still understood.
    pub aliases: &'static [&'static str],
    /// The topics of its values.
    pub pattern: Pattern,
}
