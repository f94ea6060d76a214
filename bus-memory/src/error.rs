//! The errors of this transport.

use bus_api::{Error, ErrorKind, SubscriptionId};

/// The scheme of the URL and the name in errors.
pub(crate) const NAME: &str = "memory";

fn error(kind: ErrorKind, message: &'static str) -> Error {
    Error::new(kind, message).transport(NAME)
}

pub(crate) fn closed() -> Error {
    error(
        ErrorKind::Closed,
        "the connection or the subscription was closed",
    )
}

pub(crate) fn unavailable() -> Error {
    error(
        ErrorKind::Unavailable,
        "the broker cannot be reached at the moment",
    )
}

pub(crate) fn fenced() -> Error {
    error(
        ErrorKind::Fenced,
        "the delivery is no longer this member's: its lease ended, it was settled, or the \
         subscription was reset",
    )
}

pub(crate) fn deleted() -> Error {
    error(ErrorKind::NotFound, "the subscription was deleted")
}

pub(crate) fn no_subscription(id: &SubscriptionId) -> Error {
    error(ErrorKind::NotFound, "there is no such durable subscription").with("subscription", id)
}

pub(crate) fn timeout(message: &'static str) -> Error {
    error(ErrorKind::Timeout, message)
}

pub(crate) fn not_found(message: &'static str) -> Error {
    error(ErrorKind::NotFound, message)
}

pub(crate) fn invalid_argument(message: &'static str) -> Error {
    error(ErrorKind::InvalidArgument, message)
}

pub(crate) fn invalid_config(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, message).transport(NAME)
}

pub(crate) fn no_responders() -> Error {
    error(
        ErrorKind::NoResponders,
        "nobody answers requests of this topic",
    )
}

pub(crate) fn too_large(bytes: usize, most: usize) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("the payload has {bytes} bytes; at most {most} are allowed (option `max_payload`)"),
    )
    .transport(NAME)
}

pub(crate) fn full(key: &'static str, advice: &'static str) -> Error {
    Error::new(
        ErrorKind::Throttled,
        format!("the namespace is full; raise `{key}`{advice}"),
    )
    .transport(NAME)
}
