//! What is checked before a message reaches an adapter.

use crate::contract::{Capabilities, Message, Metadata};
use crate::error::{Error, ErrorKind, Result};

/// Most bytes of key, headers and attributes together: what every transport leaves beside the payload.
pub(crate) const MAX_HEADER_BYTES: usize = 64 << 10;

/// Checks `message` against what the transport can and what the contract allows.
///
/// # Errors
/// `TooLarge`, with nothing sent; `Unsupported` for a dedup id without dedup; `InvalidArgument`.
pub(crate) fn check(message: &Message, capabilities: &Capabilities) -> Result<()> {
    let at_fault = |error: Error| error.with("topic", &message.topic);
    let payload = message.payload.len();
    if payload > capabilities.max_payload {
        let most = capabilities.max_payload;
        return Err(at_fault(Error::new(
            ErrorKind::TooLarge,
            format!("the payload has {payload} bytes; this transport takes up to {most}"),
        )));
    }
    let beside = header_bytes(message);
    if beside > MAX_HEADER_BYTES {
        return Err(at_fault(Error::new(
            ErrorKind::TooLarge,
            format!(
                "key, headers and attributes have {beside} bytes; up to {MAX_HEADER_BYTES} fit"
            ),
        )));
    }
    if let Some(dedup_id) = &message.dedup_id {
        if !capabilities.dedup {
            return Err(at_fault(Error::new(
                ErrorKind::Unsupported,
                "this transport has no dedup: publish without a dedup id",
            )));
        }
        if dedup_id.is_empty() {
            return Err(at_fault(invalid("a dedup id is not empty")));
        }
    }
    check_metadata(&message.metadata).map_err(at_fault)
}

fn check_metadata(metadata: &Metadata) -> Result<()> {
    if metadata.id.is_empty() {
        return Err(invalid("the id of a message is not empty"));
    }
    if metadata
        .expires_in
        .is_some_and(|expires_in| expires_in.as_millis() == 0)
    {
        return Err(invalid("a message expires after one millisecond or later"));
    }
    Ok(())
}

fn header_bytes(message: &Message) -> usize {
    let metadata = &message.metadata;
    let texts = [
        metadata.event_type.as_deref(),
        metadata.content_type.as_deref(),
        metadata.subject.as_deref(),
        metadata.dataschema.as_deref(),
        metadata.correlation_id.as_deref(),
        metadata.causation_id.as_deref(),
        metadata.trace.as_ref().map(|trace| &*trace.traceparent),
        metadata
            .trace
            .as_ref()
            .and_then(|trace| trace.tracestate.as_deref()),
        message.dedup_id.as_deref(),
    ];
    let texts: usize = texts.into_iter().flatten().map(str::len).sum();
    let key = message.key.as_ref().map_or(0, bytes::Bytes::len);
    message.headers.size() + metadata.source.len() + key + texts
}

fn invalid(text: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}
