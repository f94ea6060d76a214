//! What the bus tells about itself: metrics and spans.
//!
//! # Metrics
//!
//! Through the [`metrics`] facade; install a recorder **before connecting**. Names are in [`metric`].
//!
//! | metric | kind | labels | meaning |
//! |---|---|---|---|
//! | `bus_published_messages_total` | counter | `transport` | messages that the broker confirmed |
//! | `bus_published_bytes_total` | counter | `transport` | bytes of key, headers and payload of these |
//! | `bus_publish_duplicates_total` | counter | `transport` | of these, not stored because their dedup id was |
//! | `bus_publish_failures_total` | counter | `transport`, `kind`, `indeterminate` | messages whose publish failed for good |
//! | `bus_publish_retries_total` | counter | `transport` | messages that were sent again |
//! | `bus_publish_seconds` | histogram | `transport` | from sending a batch to the broker's answer |
//! | `bus_requests_total` | counter | `transport`, `outcome` | requests: `ok` or the kind of the error |
//! | `bus_request_seconds` | histogram | `transport` | from request to reply |
//! | `bus_delivered_messages_total` | counter | `transport`, `group` | deliveries handed to a handler or a stream |
//! | `bus_redelivered_messages_total` | counter | `transport`, `group` | of these, perhaps handed over before |
//! | `bus_settled_messages_total` | counter | `transport`, `group`, `outcome` | `ack`, `retry`, `defer`, `dead_letter`, `hand_back`, `expired`, `unseen` (a copy for another subscription), `dropped` (broadcast, after the last attempt) |
//! | `bus_settle_failures_total` | counter | `transport`, `group`, `kind` | settlements that the broker refused for good |
//! | `bus_in_flight_messages` | gauge | `transport`, `group` | deliveries that are held |
//! | `bus_handler_seconds` | histogram | `transport`, `group`, `type`, `outcome` | how long a handler ran |
//! | `bus_unknown_type_messages_total` | counter | `transport`, `group` | messages of a type that no handler takes |
//! | `bus_breaker_open` | gauge | `transport`, `group` | 1 while a breaker pauses fetching |
//! | `bus_responses_total` | counter | `transport`, `group`, `outcome` | requests answered: `ok`, `remote` or the kind of the error |
//! | `bus_redriven_messages_total` | counter | `transport`, `group` | dead letters that were redriven |
//! | `bus_purged_messages_total` | counter | `transport`, `group` | dead letters that were purged |
//!
//! `kind` is the stable name of an [`ErrorKind`](crate::ErrorKind); a broadcast has the group `-`.
//! Topics are no label: there may be too many.
//!
//! # Spans
//!
//! Through `tracing`, at the level `INFO` (target `bus`), with the names of OpenTelemetry's messaging
//! conventions. A batch is one span; `messaging.message.id` is set when it is one message.
//!
//! | span | `otel.kind` | `messaging.operation.type` | fields |
//! |---|---|---|---|
//! | `publish` | `producer` | `send` | `messaging.system`, `messaging.destination.name`, `messaging.message.id`, `messaging.batch.message_count`, `error.type` |
//! | `request` | `client` | `send` | `messaging.system`, `messaging.destination.name`, `messaging.message.id`, `error.type` |
//! | `process` | `consumer` | `process` | `messaging.system`, `messaging.consumer.group.name`, `messaging.destination.name`, `messaging.message.id`, `messaging.message.attempt`, `messaging.batch.message_count`, `error.type` |
//!
//! `messaging.operation.name` is the name of the span; `error.type` is the stable name of an error kind or of a handler's
//! failure (`handler`, `panic`, `timeout`, `decode`).
//!
//! The trace context of a message connects them across processes, see [`TraceHook`].

mod meters;
pub mod metric;
mod span;
mod trace;

pub(crate) use meters::PublishMeters;
pub(crate) use span::{batch_of, failed, process_span, publish_span, request_span};
pub use trace::TraceHook;

/// The `group` label of a broadcast.
pub const BROADCAST_LABEL: &str = "-";
