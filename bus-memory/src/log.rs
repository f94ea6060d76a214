//! The log of a topic.

use std::sync::Arc;

use bus_api::Topic;

use crate::slab::Key;

/// The log of a topic: its name, and who wants what is stored in it. The messages themselves lie in the
/// [`Store`](crate::store::Store), in the order of all logs.
#[derive(Debug)]
pub(crate) struct Log {
    topic: Topic,
    name: Arc<str>,
    /// The subscriptions whose pattern matches the topic: found once, not at each publish.
    pub(crate) subscriptions: Vec<Key>,
}

impl Log {
    /// `incarnation` tells it from an earlier log of the same topic.
    pub(crate) fn new(topic: Topic, incarnation: &str, subscriptions: Vec<Key>) -> Self {
        Self {
            name: format!("{topic}@{incarnation}").into(),
            topic,
            subscriptions,
        }
    }

    pub(crate) fn topic(&self) -> &Topic {
        &self.topic
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }
}
