//! What is measured.

use std::fmt;

use serde::Serialize;

/// A kind of work that all sides can do with the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Work {
    /// One message after the other, each awaited.
    PublishAwaited,
    /// In order, as many outstanding as the side allows.
    PublishManyInFlight,
    /// In batches of [`BATCH`], each awaited.
    PublishBatch,
    /// A backlog, received and settled with the default settings.
    ConsumeAck,
    /// The same with settings for throughput.
    ConsumeAckTuned,
    /// Publish, receive, settle, before the next message.
    OneByOne,
    /// The same in batches of [`BATCH`].
    Batches,
    /// The same with a typed event, written and read as JSON: what it costs more is the codec.
    BatchesOfJson,
    /// Published, received and settled by [`GROUPS`] groups at the same time.
    FanOut,
    /// The same by one group, with a pattern over [`TOPICS`] topics.
    Wildcard,
    /// A request and its reply, before the next.
    RequestReply,
    /// All dead letters of a group, a page of [`BATCH`] after the other.
    DeadLetterPages,
    /// All dead letters of a group, published again and removed.
    Redrive,
}

/// Messages of a batch.
pub(crate) const BATCH: usize = 100;
/// Groups that get every message of [`Work::FanOut`].
pub(crate) const GROUPS: usize = 4;
/// Topics of [`Work::Wildcard`].
pub(crate) const TOPICS: usize = 10;

impl Work {
    pub(crate) const ALL: [Self; 13] = [
        Self::PublishAwaited,
        Self::PublishManyInFlight,
        Self::PublishBatch,
        Self::ConsumeAck,
        Self::ConsumeAckTuned,
        Self::OneByOne,
        Self::Batches,
        Self::BatchesOfJson,
        Self::FanOut,
        Self::Wildcard,
        Self::RequestReply,
        Self::DeadLetterPages,
        Self::Redrive,
    ];

    /// How much of the load it does: a round trip for each message takes longer than a stream of them.
    pub(crate) fn share(self, messages: usize) -> usize {
        let share = match self {
            Self::PublishAwaited | Self::OneByOne | Self::RequestReply => messages / 5,
            Self::DeadLetterPages | Self::Redrive => messages / 10,
            _ => messages,
        };
        share.next_multiple_of(BATCH).max(BATCH)
    }

    /// Whether single calls are timed: then their median is the result.
    pub(crate) fn is_latency(self) -> bool {
        matches!(self, Self::PublishAwaited | Self::RequestReply)
    }

    /// Whether it is done only where a round trip costs nothing.
    pub(crate) fn is_in_process(self) -> bool {
        matches!(self, Self::OneByOne | Self::Batches | Self::BatchesOfJson)
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PublishAwaited => "publish, awaited (p50)",
            Self::PublishManyInFlight => "publish, many in flight",
            Self::PublishBatch => "publish, batches of 100",
            Self::ConsumeAck => "consume and ack a backlog",
            Self::ConsumeAckTuned => "consume and ack, tuned",
            Self::OneByOne => "publish, receive, ack one by one",
            Self::Batches => "publish, receive, ack in batches of 100",
            Self::BatchesOfJson => "publish, receive, ack 100 at a time, as JSON",
            Self::FanOut => "publish, consume and ack by 4 groups",
            Self::Wildcard => "publish, consume and ack by a pattern",
            Self::RequestReply => "request and reply (p50)",
            Self::DeadLetterPages => "dead letters, read in pages",
            Self::Redrive => "dead letters, redriven",
        })
    }
}
