//! The errors of this transport.

use std::borrow::Cow;

use bus_api::{Error, ErrorKind, SubscriptionId};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// The scheme of the URL and the name in errors.
pub(crate) const NAME: &str = "kafka";

pub(crate) fn error(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(kind, message).transport(NAME)
}

pub(crate) fn closed() -> Error {
    error(
        ErrorKind::Closed,
        "the connection or the subscription was closed",
    )
}

pub(crate) fn no_answer() -> Error {
    error(
        ErrorKind::Unavailable,
        "the broker did not answer in time; it cannot be reached at the moment",
    )
}

pub(crate) fn unconfirmed() -> Error {
    error(
        ErrorKind::Unavailable,
        "no broker has confirmed the record, though later ones were; it may be stored",
    )
}

pub(crate) fn fenced() -> Error {
    error(
        ErrorKind::Fenced,
        "the delivery is no longer this member's: its partition went to another member, it was settled, or \
         the subscription was reset",
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
            "the payload has {bytes} bytes; at most {most} are allowed (the broker's `message.max.bytes` less \
             64 KiB, or option `max_payload`)"
        ),
    )
}

pub(crate) fn senseless(what: &'static str) -> Error {
    error(
        ErrorKind::Internal,
        format!("{what} did not lead to what librdkafka promises"),
    )
}

pub(crate) fn missing_topic(name: &str) -> Error {
    error(
        ErrorKind::NotFound,
        "the Kafka topic does not exist and option `provision` forbids to create it",
    )
    .with("kafka_topic", name)
}

/// The code of the client library, where the error has one.
pub(crate) fn code_of(error: &Error) -> Option<Code> {
    error.downcast_source::<Code>().copied()
}

/// Whether waiting cannot help.
pub(crate) fn is_final(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unauthenticated
            | ErrorKind::PermissionDenied
            | ErrorKind::InvalidConfig
            | ErrorKind::Unsupported
            | ErrorKind::Closed
    )
}

pub(crate) fn from_number(code: i32) -> Error {
    from_code(Code::from_number(code))
}

trait FromNumber {
    fn from_number(code: i32) -> Self;
}

impl FromNumber for Code {
    /// The numbers that librdkafka itself gives are all known.
    fn from_number(code: i32) -> Self {
        KNOWN
            .iter()
            .copied()
            .find(|known| *known as i32 == code)
            .unwrap_or(Self::Unknown)
    }
}

/// Codes that come as plain numbers: in answers about single partitions.
const KNOWN: [Code; 17] = [
    Code::UnknownTopicOrPartition,
    Code::OffsetMetadataTooLarge,
    Code::RequestTimedOut,
    Code::CoordinatorLoadInProgress,
    Code::CoordinatorNotAvailable,
    Code::NotCoordinator,
    Code::IllegalGeneration,
    Code::UnknownMemberId,
    Code::RebalanceInProgress,
    Code::TopicAuthorizationFailed,
    Code::GroupAuthorizationFailed,
    Code::FencedInstanceId,
    Code::UnknownTopicId,
    Code::GroupSubscribedToTopic,
    Code::GroupIdNotFound,
    Code::FencedMemberEpoch,
    Code::StaleMemberEpoch,
];

/// An error of the client library. Its own text is kept as the source; it holds no payload and no secret.
pub(crate) fn from_client(native: &KafkaError) -> Error {
    match native.rdkafka_error_code() {
        Some(code) => from_code(code),
        None => match native {
            KafkaError::ClientConfig(_, why, name, _) => invalid_config(format!(
                "the client library refuses property `{name}`: {why}"
            )),
            KafkaError::ClientCreation(why) => invalid_config(format!(
                "the client library refuses the configuration: {why}"
            )),
            KafkaError::Canceled => closed(),
            _ => error(ErrorKind::Internal, "the client library failed").caused_by(native.clone()),
        },
    }
}

/// What a code of the client library or the broker means.
pub(crate) fn from_code(code: Code) -> Error {
    let (kind, message) = meaning(code);
    let failed = error(kind, message).caused_by(code);
    match kind {
        ErrorKind::Internal => failed.with("code", code),
        _ => failed,
    }
}

/// The kind of a code, and what to do about it.
fn meaning(code: Code) -> (ErrorKind, &'static str) {
    use ErrorKind::{
        Fenced, Internal, InvalidArgument, InvalidConfig, NotFound, PermissionDenied, Throttled,
        TooLarge, Unauthenticated, Unavailable, Unsupported,
    };
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => (
            Unauthenticated,
            "the broker does not accept the credentials",
        ),
        Code::SSL => (
            Unauthenticated,
            "the TLS handshake failed: check `tls_ca`, `tls_cert` and `tls_key`",
        ),
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed => (
            PermissionDenied,
            "the user may not do this; docs/transports/kafka.md lists the rights",
        ),
        Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::MessageBatchTooLarge
        | Code::InvalidRecord => (
            TooLarge,
            "the record is larger than the broker takes; raise its `message.max.bytes`",
        ),
        Code::OffsetMetadataTooLarge => (
            TooLarge,
            "the metadata of a commit is larger than the broker takes; raise its `offset.metadata.max.bytes`",
        ),
        Code::QueueFull => (
            Throttled,
            "the producer's buffer is full; lower `window_bytes`",
        ),
        Code::ThrottlingQuotaExceeded => (Throttled, "the broker's quota is used up"),
        Code::PolicyViolation => (PermissionDenied, "a policy of the broker forbids it"),
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId => (Unavailable, "the Kafka topic is not there (any more)"),
        Code::InvalidTopic => (
            InvalidArgument,
            "the broker refuses the name of the Kafka topic",
        ),
        Code::InvalidReplicationFactor => (
            InvalidConfig,
            "the cluster has fewer brokers than option `replication` asks for",
        ),
        Code::InvalidPartitions => (InvalidConfig, "option `partitions` is at least 1"),
        Code::InvalidConfig => (
            InvalidConfig,
            "the broker refuses a setting of the Kafka topic",
        ),
        Code::InvalidSessionTimeout => (
            InvalidConfig,
            "the lease is outside of the broker's `group.min.session.timeout.ms` and \
             `group.max.session.timeout.ms`",
        ),
        Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::NotImplemented
        | Code::UnsupportedForMessageFormat => (
            Unsupported,
            "the broker is too old for this; the bus needs Kafka 3.7 or later",
        ),
        Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::FencedInstanceId
        | Code::FencedMemberEpoch
        | Code::StaleMemberEpoch
        | Code::AssignmentLost
        | Code::Fenced => (
            Fenced,
            "another member has taken over; what this one holds is no longer its own",
        ),
        Code::GroupIdNotFound => (NotFound, "the broker does not know the group"),
        Code::NonEmptyGroup | Code::GroupSubscribedToTopic => {
            (InvalidArgument, "the group has live members")
        }
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => (
            Unavailable,
            "too few replicas are in sync (`min.insync.replicas`)",
        ),
        Code::InvalidProducerEpoch
        | Code::ProducerFenced
        | Code::OutOfOrderSequenceNumber
        | Code::UnknownProducerId => (
            Unavailable,
            "the broker lost the producer's state; it starts anew",
        ),
        Code::Fatal | Code::GaplessGuarantee | Code::Inconsistent => {
            (Unavailable, "the producer failed; it starts anew")
        }
        Code::MessageTimedOut
        | Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::TimedOutQueue
        | Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::NetworkException
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::NotController
        | Code::WaitingForCoordinator
        | Code::RebalanceInProgress
        | Code::KafkaStorageError
        | Code::ListenerNotFound
        | Code::OffsetNotAvailable
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::EligibleLeadersNotAvailable
        | Code::UnstableOffsetCommit
        | Code::PurgeQueue
        | Code::PurgeInflight
        | Code::DestroyBroker
        | Code::BrokerDestroy
        | Code::UnknownBroker
        | Code::Retry
        | Code::WaitCache => (
            Unavailable,
            "the broker cannot be reached or cannot serve at the moment",
        ),
        _ => (Internal, "the broker or the client library failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_keep_their_meaning() {
        for (code, kind) in [
            (Code::SaslAuthenticationFailed, ErrorKind::Unauthenticated),
            (Code::TopicAuthorizationFailed, ErrorKind::PermissionDenied),
            (Code::MessageSizeTooLarge, ErrorKind::TooLarge),
            (Code::MessageTimedOut, ErrorKind::Unavailable),
            (Code::IllegalGeneration, ErrorKind::Fenced),
            (Code::QueueFull, ErrorKind::Throttled),
        ] {
            let found = from_code(code);
            assert_eq!(found.kind(), kind, "{code:?}");
            assert_eq!(code_of(&found), Some(code));
            assert!(!found.is_indeterminate());
        }
        assert_eq!(code_of(&from_number(25)), Some(Code::UnknownMemberId));
    }
}
