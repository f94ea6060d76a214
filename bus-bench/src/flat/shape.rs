//! How much there is.

use std::fmt;

use serde::Serialize;

/// How many times as long the long backlog is.
pub(super) const LONGER: usize = 50;
/// Messages of a round are a multiple of it, so that every topic and every subscription has the same share.
pub(super) const GRAIN: usize = 400;
/// Topics of each of many subscriptions.
const EACH: usize = 10;

/// How much there is while messages are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "shape")]
pub(crate) enum Shape {
    /// Published, received and settled at the same time.
    Through {
        /// Messages of a round.
        messages: usize,
        /// They go to these in turn.
        topics: usize,
        /// Each has its share of the topics, under a pattern.
        subscriptions: usize,
    },
    /// A backlog, received and settled.
    Backlog {
        /// Messages of a round.
        messages: usize,
    },
}

impl Shape {
    /// Small ones, and what is compared with them. A member of a Kafka group costs the broker and the client far more than
    /// elsewhere: there are fewer subscriptions there.
    pub(super) fn all(messages: usize, is_kafka: bool) -> [Self; 5] {
        let topics = messages / 2;
        let subscriptions = topics / EACH / if is_kafka { 20 } else { 1 };
        let through = |topics, subscriptions| Self::Through {
            messages,
            topics,
            subscriptions,
        };
        [
            through(1, 1),
            through(topics, 1),
            through(subscriptions * EACH, subscriptions),
            Self::Backlog { messages },
            Self::Backlog {
                messages: LONGER * messages,
            },
        ]
    }

    pub(crate) fn messages(&self) -> usize {
        match self {
            Self::Through { messages, .. } | Self::Backlog { messages } => *messages,
        }
    }

    pub(super) fn topics(&self) -> usize {
        match self {
            Self::Through { topics, .. } => *topics,
            Self::Backlog { .. } => 0,
        }
    }

    /// Whether `other` is compared with this.
    pub(super) fn is_small_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Through { topics, .. }, Self::Through { topics: more, .. }) => {
                *topics == 1 && *more > 1
            }
            (Self::Backlog { messages }, Self::Backlog { messages: more }) => messages < more,
            _ => false,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Through {
                topics,
                subscriptions,
                ..
            } => write!(
                f,
                "publish, consume and ack: {topics} topics, {subscriptions} subscriptions"
            ),
            Self::Backlog { messages } => {
                write!(f, "consume and ack a backlog of {messages}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_large_shape_has_a_small_one() {
        for is_kafka in [false, true] {
            let all = Shape::all(20_000, is_kafka);
            let small = |of: &Shape| all.iter().position(|small| small.is_small_of(of));
            assert_eq!(
                all.each_ref().map(small),
                [None, Some(0), Some(0), None, Some(3)]
            );
        }
    }
}
