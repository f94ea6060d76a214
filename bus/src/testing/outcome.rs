//! What became of deliveries.

use std::borrow::Cow;

use bus_api::{Failure, Group, MessageId, Pattern, Topic};

/// What became of one delivery to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The group.
    pub group: Group,
    /// The pattern through which the group got it.
    pub pattern: Pattern,
    /// Where the message was published.
    pub topic: Topic,
    /// Its type: what chose the handler.
    pub event_type: Option<Cow<'static, str>>,
    /// Its id.
    pub id: MessageId,
    /// Which attempt this was, from 1.
    pub attempt: u32,
    /// How the attempt ended.
    pub ending: Ending,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The handler succeeded, or the message was skipped: nobody handles its type, or it had expired.
    Handled,
    /// The handler failed; another attempt follows.
    Failed,
    /// The handler asked for it again later, without using up an attempt.
    Deferred,
    /// Not started, or interrupted by a shutdown; it comes again and no attempt is used up.
    HandedBack,
    /// The message was given up.
    DeadLettered(Failure),
}
