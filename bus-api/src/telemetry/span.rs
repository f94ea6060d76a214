//! The spans, named once.

use std::sync::Arc;

use tracing::{Span, field, info_span};

use crate::contract::Message;

/// Around one call that stores `batch`.
pub(crate) fn publish_span(transport: &'static str, batch: &[Arc<Message>]) -> Span {
    let span = info_span!(
        target: "bus",
        "publish",
        otel.kind = "producer",
        messaging.system = transport,
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.destination.name = field::Empty,
        messaging.message.id = field::Empty,
        messaging.batch.message_count = field::Empty,
        error.type = field::Empty,
    );
    match batch {
        [message] => about(&span, message),
        batch => batch_of(&span, batch.len()),
    }
    span
}

/// Around one request.
pub(crate) fn request_span(transport: &'static str, message: &Message) -> Span {
    let span = info_span!(
        target: "bus",
        "request",
        otel.kind = "client",
        messaging.system = transport,
        messaging.operation.name = "request",
        messaging.operation.type = "send",
        messaging.destination.name = field::Empty,
        messaging.message.id = field::Empty,
        error.type = field::Empty,
    );
    about(&span, message);
    span
}

/// Around one run of a handler.
pub(crate) fn process_span(
    transport: &'static str,
    group: &str,
    message: &Message,
    attempt: u32,
) -> Span {
    let span = info_span!(
        target: "bus",
        "process",
        otel.kind = "consumer",
        messaging.system = transport,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.consumer.group.name = group,
        messaging.destination.name = field::Empty,
        messaging.message.id = field::Empty,
        messaging.message.attempt = attempt,
        messaging.batch.message_count = field::Empty,
        error.type = field::Empty,
    );
    about(&span, message);
    span
}

/// Says how the work of `span` failed, by the stable name of the error or failure.
pub(crate) fn failed(span: &Span, kind: &str) {
    span.record("error.type", kind);
}

/// Says that the work of `span` is a batch of so many messages.
pub(crate) fn batch_of(span: &Span, count: usize) {
    span.record("messaging.batch.message_count", count);
}

fn about(span: &Span, message: &Message) {
    if !span.is_disabled() {
        span.record("messaging.destination.name", message.topic.as_str());
        span.record("messaging.message.id", field::display(&message.metadata.id));
    }
}
