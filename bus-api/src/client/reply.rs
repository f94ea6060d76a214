//! Replies on the wire: a value, or how the responder failed.

use std::fmt;
use std::sync::Arc;

use super::core::Core;
use crate::contract::{Failure, Message};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Request;

/// Reserved header of a reply: the kind of the responder's failure. Its presence makes a reply a failure.
const ERROR_KIND: &str = "bus-error-kind";
/// Reserved header of a reply: the text of the responder's failure.
const ERROR_TEXT: &str = "bus-error-text";

/// How a responder failed: the source of an error of the kind [`Remote`](crate::ErrorKind::Remote).
///
/// ```
/// use bus_api::{Error, ErrorKind, RemoteFailure};
///
/// fn retry(error: &Error) -> bool {
///     let remote = error.downcast_source::<RemoteFailure>();
///     remote.is_some_and(|remote| remote.kind() == "timeout")
/// }
/// # assert!(!retry(&Error::new(ErrorKind::Remote, "x")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFailure(Failure);

impl RemoteFailure {
    /// The class of the failure, as the responder named it; see [`Failure`]'s constants.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// The responder's text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }
}

impl fmt::Display for RemoteFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for RemoteFailure {}

/// The message that answers `request` with `reply`.
///
/// # Errors
/// `Encode`; `TooLarge` for a reply that the transport cannot carry: answer with a failure then.
pub(crate) fn encode<R: Request>(
    core: &Core,
    request: &Message,
    reply: &R::Reply,
) -> Result<Message> {
    let codec = core.codecs.default_codec();
    let mut message = answer(core, request);
    message.payload = codec.to_bytes(reply)?;
    message.metadata.content_type = Some(codec.content_type().into());
    super::check::check(&message, &core.capabilities)?;
    Ok(message)
}

/// The message that answers `request` with a failure of the responder.
pub(crate) fn encode_failure(core: &Core, request: &Message, failure: &Failure) -> Message {
    let mut message = answer(core, request);
    message.headers.set(ERROR_KIND, &*failure.kind);
    message.headers.set(ERROR_TEXT, &*failure.text);
    message
}

/// An empty answer: correlated with the request, caused by it, of its trace.
fn answer(core: &Core, request: &Message) -> Message {
    let asked = &request.metadata;
    let mut metadata = core.metadata();
    let id = asked.id.to_string().into_boxed_str();
    metadata.event_type = asked
        .event_type
        .as_ref()
        .map(|name| [name, ".reply"].concat().into());
    metadata.correlation_id = Some(match &asked.correlation_id {
        Some(correlation_id) => correlation_id.clone(),
        None => id.clone(),
    });
    metadata.causation_id = Some(id);
    metadata.trace = metadata.trace.or_else(|| asked.trace.clone());
    Message::new(request.topic.clone(), metadata, bytes::Bytes::new())
}

/// Reads a reply.
///
/// # Errors
/// `Remote` when the responder failed; `Decode`.
pub(crate) fn decode<R: Request>(core: &Arc<Core>, reply: &Message) -> Result<R::Reply> {
    if let Some(kind) = reply.headers.get(ERROR_KIND) {
        let text = reply.headers.get(ERROR_TEXT).unwrap_or_default();
        let failure = RemoteFailure(Failure::new(kind.to_owned(), text));
        return Err(Error::new(
            ErrorKind::Remote,
            format!("the responder failed: {failure}"),
        )
        .transport(core.transport())
        .with("topic", &reply.topic)
        .caused_by(failure));
    }
    core.codecs
        .for_content_type(reply.metadata.content_type.as_deref())?
        .from_bytes(&reply.payload)
}
