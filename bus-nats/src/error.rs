//! The errors of this transport.

use std::borrow::Cow;
use std::fmt;

use async_nats::{ConnectError, ConnectErrorKind};
use bus_api::{Error, ErrorKind, SubscriptionId};

use crate::tls;

/// The scheme of the URL and the name in errors.
pub(crate) const NAME: &str = "nats";

pub(crate) fn error(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Error {
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
        "the server cannot be reached at the moment",
    )
}

pub(crate) fn no_answer() -> Error {
    error(ErrorKind::Timeout, "the server did not answer in time")
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

pub(crate) fn invalid_config(message: impl Into<Cow<'static, str>>) -> Error {
    error(ErrorKind::InvalidConfig, message)
}

pub(crate) fn invalid_argument(message: &'static str) -> Error {
    error(ErrorKind::InvalidArgument, message)
}

pub(crate) fn too_large(bytes: usize, most: usize) -> Error {
    error(
        ErrorKind::TooLarge,
        format!(
            "the message has {bytes} bytes; at most {most} are allowed (`max_payload` of the server)"
        ),
    )
}

pub(crate) fn denied(subject: &str) -> Error {
    error(
        ErrorKind::PermissionDenied,
        "the user may not use this subject; docs/wire/nats.md lists the rights",
    )
    .with("subject", subject)
}

pub(crate) fn senseless(what: &'static str) -> Error {
    error(
        ErrorKind::Internal,
        format!("the server's answer to {what} makes no sense"),
    )
}

/// What the server said when it refused something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The server's own number, which tells refusals apart.
    pub(crate) code: u64,
    pub(crate) description: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.description, self.code)
    }
}

impl std::error::Error for Refusal {}

pub(crate) const NO_STREAM: u64 = 10_059;
pub(crate) const NO_CONSUMER: u64 = 10_014;
pub(crate) const NO_MESSAGE: u64 = 10_037;
pub(crate) const NOTHING_TO_DELETE: u64 = 10_057;
/// A message of a place where none is, any more or yet.
pub(crate) const NOT_THERE: u64 = 10_043;
pub(crate) const WRONG_LAST_SEQUENCE: u64 = 10_071;
/// Of several servers: another write to the same subject is on its way, and nobody knows yet whether it is stored.
pub(crate) const UNDECIDED: u64 = 10_164;
pub(crate) const STORE_FAILED: u64 = 10_077;
pub(crate) const CONSUMER_EXISTS: u64 = 10_148;
pub(crate) const CONSUMER_NAME_EXISTS: u64 = 10_013;
pub(crate) const STREAM_EXISTS: u64 = 10_058;

/// What a refusal means: its kind, and what to do about it.
fn meaning(refusal: &Refusal) -> (ErrorKind, &'static str) {
    match refusal.code {
        NO_STREAM => (ErrorKind::Unavailable, "a stream of the bus is missing"),
        NO_CONSUMER => (
            ErrorKind::NotFound,
            "the consumer of the subscription is gone",
        ),
        NO_MESSAGE | NOTHING_TO_DELETE => (ErrorKind::NotFound, "there is no such message"),
        WRONG_LAST_SEQUENCE => (ErrorKind::Fenced, "someone else was faster"),
        STORE_FAILED if refusal.description.contains("bytes") => (
            ErrorKind::Throttled,
            "the log is full; raise `retention.bytes`",
        ),
        STORE_FAILED if refusal.description.contains("messages") => (
            ErrorKind::Throttled,
            "the log is full; raise `retention.count`",
        ),
        STORE_FAILED => (ErrorKind::Unavailable, "the server cannot store"),
        // More arrives than the server stores; or the same dedup id is being stored at this moment.
        10_158 | 10_167 => (
            ErrorKind::Throttled,
            "the server has more to store than it takes at once",
        ),
        10_054 => (
            ErrorKind::TooLarge,
            "the stream does not take a message of this size",
        ),
        10_097 => (
            ErrorKind::TooLarge,
            "the headers are too large; the server takes 64 KiB",
        ),
        // Limits of the account or of the server.
        10_002 | 10_023 | 10_028 | 10_047 | 10_120 | 10_121 => (
            ErrorKind::Throttled,
            "the account or the server has no room left; raise its JetStream limits",
        ),
        10_026 | 10_027 => (
            ErrorKind::Throttled,
            "the account may have no more streams or consumers; raise its limits",
        ),
        10_035 | 10_039 | 10_076 => (
            ErrorKind::Unsupported,
            "JetStream is not enabled for this account; enable it on the server",
        ),
        10_065 => (
            ErrorKind::InvalidConfig,
            "another stream captures subjects of this namespace; choose another `namespace`",
        ),
        STREAM_EXISTS => (
            ErrorKind::InvalidConfig,
            "the stream exists with other settings",
        ),
        CONSUMER_EXISTS | CONSUMER_NAME_EXISTS => (
            ErrorKind::InvalidConfig,
            "the consumer exists with other settings",
        ),
        10_004 | 10_008 | 10_009 | 10_110 | 10_118 | 10_119 | 10_163 => (
            ErrorKind::Unavailable,
            "the server cannot serve JetStream at the moment",
        ),
        10_005 => (
            ErrorKind::Unavailable,
            "too few servers of the cluster are there at the moment for this number of `replicas`",
        ),
        10_074 => (
            ErrorKind::InvalidConfig,
            "the server is alone: `replicas` has to be 1",
        ),
        UNDECIDED => (
            ErrorKind::Unavailable,
            "another write in the same place is on its way",
        ),
        _ => (ErrorKind::Internal, "the server refused it"),
    }
}

/// A refusal of the server: it was certainly not done.
pub(crate) fn refused(refusal: Refusal) -> Error {
    let (kind, message) = meaning(&refusal);
    error(kind, message)
        .with("code", refusal.code)
        .caused_by(refusal)
}

/// Whether the server refused with this number.
pub(crate) fn is_refusal(error: &Error, code: u64) -> bool {
    error
        .downcast_source::<Refusal>()
        .is_some_and(|refusal| refusal.code == code)
}

/// An error of connecting.
///
/// The text of the client's error is not taken over: it may hold parts of the configuration.
pub(crate) fn from_connect(native: &ConnectError) -> Error {
    if let Some(refusal) = tls::refusal(native) {
        return refusal;
    }
    match native.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => error(
            ErrorKind::Unauthenticated,
            "the server does not accept the credentials",
        ),
        ConnectErrorKind::Tls => error(ErrorKind::Unavailable, "no TLS connection could be made"),
        ConnectErrorKind::ServerParse => {
            invalid_config("the client refuses the address of the server")
        }
        ConnectErrorKind::Dns
        | ConnectErrorKind::TimedOut
        | ConnectErrorKind::Io
        | ConnectErrorKind::MaxReconnects => unavailable(),
    }
}

/// Whether waiting cannot help.
pub(crate) fn is_final(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Closed
            | ErrorKind::Unauthenticated
            | ErrorKind::PermissionDenied
            | ErrorKind::Unsupported
            | ErrorKind::InvalidConfig
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_meaning() {
        for (code, text, kind, retryable) in [
            (NO_STREAM, "", ErrorKind::Unavailable, true),
            (NO_CONSUMER, "", ErrorKind::NotFound, false),
            (
                STORE_FAILED,
                "maximum messages exceeded",
                ErrorKind::Throttled,
                true,
            ),
            (
                STORE_FAILED,
                "maximum bytes exceeded",
                ErrorKind::Throttled,
                true,
            ),
            (STORE_FAILED, "disk", ErrorKind::Unavailable, true),
            (10_054, "", ErrorKind::TooLarge, false),
            (10_047, "", ErrorKind::Throttled, true),
            (10_158, "", ErrorKind::Throttled, true),
            (10_167, "", ErrorKind::Throttled, true),
            (10_039, "", ErrorKind::Unsupported, false),
            (10_065, "", ErrorKind::InvalidConfig, false),
            (10_008, "", ErrorKind::Unavailable, true),
            (10_005, "", ErrorKind::Unavailable, true),
            (10_074, "", ErrorKind::InvalidConfig, false),
            (UNDECIDED, "", ErrorKind::Unavailable, true),
            (1, "", ErrorKind::Internal, false),
        ] {
            let error = refused(Refusal {
                code,
                description: text.to_owned(),
            });
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (kind, retryable),
                "{code}"
            );
            assert!(!error.is_indeterminate(), "{code}");
            assert!(is_refusal(&error, code) && !is_refusal(&error, code + 1));
        }
    }
}
