//! What is measured.

use std::fmt;

use serde::Serialize;

/// A kind of work that both sides can do with the same bytes.
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
    /// Publish, receive, settle, before the next message.
    OneByOne,
    /// The same in batches of [`BATCH`].
    Batches,
    /// The same in batches of [`BATCH`], to [`GROUPS`] groups.
    FanOut,
    /// The same in batches of [`BATCH`], by a pattern with wildcards over [`TOPICS`] topics.
    Wildcard,
    /// A request and its reply, before the next.
    RequestReply,
}

/// Messages of a batch.
pub(crate) const BATCH: usize = 100;
/// Groups that get every message of [`Work::FanOut`].
pub(crate) const GROUPS: usize = 4;
/// Topics of [`Work::Wildcard`].
pub(crate) const TOPICS: usize = 10;

impl Work {
    pub(crate) const ALL: [Self; 9] = [
        Self::PublishAwaited,
        Self::PublishManyInFlight,
        Self::PublishBatch,
        Self::ConsumeAck,
        Self::OneByOne,
        Self::Batches,
        Self::FanOut,
        Self::Wildcard,
        Self::RequestReply,
    ];

    /// How much of the load it does: a round trip for each message takes longer than a stream of them.
    pub(crate) fn share(self, messages: usize) -> usize {
        let share = match self {
            Self::PublishAwaited | Self::OneByOne | Self::RequestReply => messages / 5,
            _ => messages,
        };
        share.next_multiple_of(BATCH).max(BATCH)
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PublishAwaited => "publish, awaited",
            Self::PublishManyInFlight => "publish, many in flight",
            Self::PublishBatch => "publish, batches of 100",
            Self::ConsumeAck => "consume and ack a backlog",
            Self::OneByOne => "publish, receive, ack one by one",
            Self::Batches => "publish, receive, ack in batches of 100",
            Self::FanOut => "the same to 4 groups",
            Self::Wildcard => "the same by `*` over 10 topics",
            Self::RequestReply => "request and reply",
        })
    }
}
