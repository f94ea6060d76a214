//! Requests.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::Event;

/// An event that is answered.
///
/// A failure that belongs to the domain is part of the reply; a failure of the responder reaches the
/// requester as an error of the kind [`Remote`](crate::ErrorKind::Remote).
///
/// ```
/// # use bus_api::{Codec, Event, EventType, Pattern, Request, Result, Topic};
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize)] // and, with the facade: #[derive(Event)]
/// struct PriceQuery { sku: String }
/// # impl Event for PriceQuery {
/// #     fn types() -> Result<Vec<EventType>> { Ok(vec![]) }
/// #     fn event_type(&self) -> std::borrow::Cow<'static, str> { "".into() }
/// #     fn topic(&self) -> Result<Topic> { Topic::new("prices") }
/// #     fn key(&self) -> Option<bytes::Bytes> { None }
/// #     fn encode(&self, codec: &dyn Codec) -> Result<bytes::Bytes> { codec.to_bytes(self) }
/// #     fn decode(_: Option<&str>, payload: &bytes::Bytes, codec: &dyn Codec) -> Result<Self> { codec.from_bytes(payload) }
/// # }
///
/// #[derive(Serialize, Deserialize)]
/// enum PriceError { UnknownSku }
///
/// impl Request for PriceQuery {
///     type Reply = std::result::Result<u64, PriceError>;
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a request",
    label = "has no reply",
    note = "say what answers it: `impl Request for {Self} {{ type Reply = ..; }}`"
)]
pub trait Request: Event {
    /// What answers it; encoded like an event, without a type.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
}
