//! The errors of this transport.

use std::borrow::Cow;

use bus_api::{Error, ErrorKind, SubscriptionId};
use redis::{ErrorKind as Native, RedisError, ServerError, ServerErrorKind};

/// The scheme of the URL and the name in errors.
pub(crate) const NAME: &str = "redis";

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
        format!("the payload has {bytes} bytes; at most {most} are allowed (option `max_payload`)"),
    )
}

pub(crate) fn senseless(what: &'static str) -> Error {
    error(
        ErrorKind::Internal,
        format!("the server's answer to {what} makes no sense"),
    )
}

/// What a server's error code means: its kind, and what to do about it.
fn meaning(code: &str) -> (ErrorKind, &'static str) {
    match code {
        "OOM" => (
            ErrorKind::Throttled,
            "the server is out of memory; raise its `maxmemory`",
        ),
        "READONLY" => (
            ErrorKind::Unavailable,
            "the server is a read-only replica; the bus needs the primary",
        ),
        "LOADING" => (ErrorKind::Unavailable, "the server is loading its data"),
        "MISCONF" => (
            ErrorKind::Unavailable,
            "the server cannot write its snapshot or log and takes no writes",
        ),
        "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "MOVED" | "ASK" => (
            ErrorKind::Unavailable,
            "the server cannot serve this key now",
        ),
        "NOSCRIPT" => (
            ErrorKind::Unavailable,
            "the server lost the scripts of the bus; they are loaded again",
        ),
        "NOREPLICAS" => (
            ErrorKind::Unavailable,
            "the server has too few replicas to take writes",
        ),
        "BUSY" => (ErrorKind::Unavailable, "the server is busy with a script"),
        "NOPERM" => (
            ErrorKind::PermissionDenied,
            "the user may not run this command or use this key; docs/transports/redis.md lists the rights",
        ),
        "NOAUTH" | "WRONGPASS" => (
            ErrorKind::Unauthenticated,
            "the server does not accept the credentials",
        ),
        "WRONGTYPE" => (
            ErrorKind::Internal,
            "a key of the bus holds another type; something else writes to its namespace",
        ),
        "CROSSSLOT" => (
            ErrorKind::Unsupported,
            "keys of one script lie in different slots",
        ),
        "NOGROUP" => (ErrorKind::NotFound, "the consumer group is gone"),
        _ => (ErrorKind::Internal, "the server refused the command"),
    }
}

/// An error that the server gave for one command: it was certainly not executed.
pub(crate) fn from_server(code: &str) -> Error {
    let (kind, message) = meaning(code);
    error(kind, message).with("code", code)
}

pub(crate) fn from_reply(reply: &ServerError) -> Error {
    from_server(reply.code())
}

/// An error of the client. One that leaves open whether the command was executed is marked indeterminate.
///
/// The text of the client's error is not taken over: it may hold parts of what was sent.
pub(crate) fn from_client(native: &RedisError) -> Error {
    if let Some(code) = native.code().filter(|_| !native.is_io_error()) {
        return from_server(code);
    }
    if let Some(refusal) = crate::tls::refusal(native) {
        return refusal;
    }
    match native.kind() {
        Native::AuthenticationFailed => from_server("WRONGPASS"),
        Native::Server(kind) => from_server(code_of(kind)),
        Native::Io => {
            let found = if native.is_timeout() {
                error(ErrorKind::Timeout, "the server did not answer in time")
            } else {
                unavailable()
            };
            if native.is_connection_refusal() {
                found
            } else {
                found.indeterminate()
            }
        }
        Native::InvalidClientConfig => {
            invalid_config("the client refuses the address or its options")
        }
        Native::Parse | Native::UnexpectedReturnType => senseless("a command").indeterminate(),
        Native::RESP3NotSupported => error(
            ErrorKind::Unsupported,
            "the server is too old; the bus needs Redis 7 or later",
        ),
        Native::Client
        | Native::Extension
        | Native::MasterNameNotFoundBySentinel
        | Native::NoValidReplicasFoundBySentinel
        | Native::EmptySentinelList
        | Native::ClusterConnectionNotFound => unavailable().indeterminate(),
        // The client may learn new kinds; nothing is known about them.
        _ => unavailable().indeterminate(),
    }
}

fn code_of(kind: ServerErrorKind) -> &'static str {
    match kind {
        ServerErrorKind::BusyLoading => "LOADING",
        ServerErrorKind::NoScript => "NOSCRIPT",
        ServerErrorKind::Moved => "MOVED",
        ServerErrorKind::Ask => "ASK",
        ServerErrorKind::TryAgain => "TRYAGAIN",
        ServerErrorKind::ClusterDown => "CLUSTERDOWN",
        ServerErrorKind::CrossSlot => "CROSSSLOT",
        ServerErrorKind::MasterDown => "MASTERDOWN",
        ServerErrorKind::ReadOnly => "READONLY",
        ServerErrorKind::NoPerm => "NOPERM",
        _ => "ERR",
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
    fn every_code_has_a_meaning() {
        for (code, kind, retryable) in [
            ("OOM", ErrorKind::Throttled, true),
            ("READONLY", ErrorKind::Unavailable, true),
            ("LOADING", ErrorKind::Unavailable, true),
            ("MISCONF", ErrorKind::Unavailable, true),
            ("MOVED", ErrorKind::Unavailable, true),
            ("CLUSTERDOWN", ErrorKind::Unavailable, true),
            ("NOSCRIPT", ErrorKind::Unavailable, true),
            ("NOPERM", ErrorKind::PermissionDenied, false),
            ("NOAUTH", ErrorKind::Unauthenticated, false),
            ("WRONGPASS", ErrorKind::Unauthenticated, false),
            ("WRONGTYPE", ErrorKind::Internal, false),
            ("CROSSSLOT", ErrorKind::Unsupported, false),
            ("NOGROUP", ErrorKind::NotFound, false),
            ("ERR", ErrorKind::Internal, false),
        ] {
            let error = from_server(code);
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (kind, retryable),
                "{code}"
            );
            assert!(!error.is_indeterminate(), "{code}");
        }
    }

    #[test]
    fn a_broken_connection_leaves_open_what_happened_and_a_refused_one_does_not() {
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(from_client(&broken).is_indeterminate());
        let refused = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        assert!(!from_client(&refused).is_indeterminate());
        assert_eq!(from_client(&refused).kind(), ErrorKind::Unavailable);
    }
}
