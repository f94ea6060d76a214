//! Names of keys; `docs/wire/redis.md` is the table of them.

use bus_api::{Group, Namespace, Pattern, Topic};

/// The consumer that holds what waits for its time.
pub(crate) const PARKED: &str = "~parked";
/// The consumer that all members of an ordered subscription share.
pub(crate) const ONE: &str = "~one";

/// The pseudo root of members without a fixed root.
pub(crate) const NO_ROOT: &str = "~";

/// The root on which every member of a pattern has its lease.
pub(crate) fn home(pattern: &Pattern) -> &str {
    pattern.root().unwrap_or(NO_ROOT)
}

/// Makes the names of one namespace. `~` is not a legal token, so that its slot is no topic's.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    namespace: Namespace,
}

/// The names of one subscription on one root; all in the slot of the root.
#[derive(Clone, Debug)]
pub(crate) struct SubKeys {
    pub(crate) members: String,
    pub(crate) lock: String,
    pub(crate) dead: String,
    pub(crate) park: String,
    pub(crate) records: String,
    pub(crate) paused: String,
}

impl Keys {
    pub(crate) fn new(namespace: Namespace) -> Self {
        Self { namespace }
    }

    fn global(&self, rest: &str) -> String {
        format!("{}:{{~}}:{rest}", self.namespace)
    }

    fn at(&self, root: &str, kind: &str, rest: &str) -> String {
        format!("{}:{{{root}}}:{kind}:{rest}", self.namespace)
    }

    /// SET of the roots.
    pub(crate) fn roots(&self) -> String {
        self.global("roots")
    }

    /// HASH of broker name to the record of a durable subscription.
    pub(crate) fn subscriptions(&self) -> String {
        self.global("subs")
    }

    /// The lease of whoever looks after retention with these settings.
    pub(crate) fn keeper(&self, settings: &str) -> String {
        self.global(&format!("keeper:{settings}"))
    }

    /// STREAM of a topic.
    pub(crate) fn stream(&self, topic: &Topic) -> String {
        self.at(topic.root(), "s", topic.as_str())
    }

    /// The topic of a stream's key.
    pub(crate) fn topic_of(&self, stream: &str) -> Option<Topic> {
        let rest = stream.strip_prefix(self.namespace.as_str())?;
        let (_, topic) = rest.split_once("}:s:")?;
        Topic::new(topic).ok()
    }

    /// ZSET of a root's topics.
    pub(crate) fn topics(&self, root: &str) -> String {
        format!("{}:{{{root}}}:topics", self.namespace)
    }

    /// Channel of a root's hints.
    pub(crate) fn channel(&self, root: &str) -> String {
        format!("{}:{{{root}}}:h", self.namespace)
    }

    /// All channels of hints, as a pattern of Pub/Sub.
    pub(crate) fn channels(&self) -> String {
        format!("{}:{{*}}:h", self.namespace)
    }

    /// The key that remembers a dedup id.
    pub(crate) fn dedup(&self, topic: &Topic, id: &str) -> String {
        self.at(topic.root(), "k", &format!("{topic}/{id}"))
    }

    /// HASH of broker name to the number of messages that retention dropped unsettled.
    pub(crate) fn dropped(&self, root: &str) -> String {
        format!("{}:{{{root}}}:dropped", self.namespace)
    }

    /// The keys of one subscription on one root.
    pub(crate) fn subscription(&self, root: &str, sub: &str) -> SubKeys {
        SubKeys {
            members: self.at(root, "m", sub),
            lock: self.at(root, "l", sub),
            dead: self.at(root, "x", sub),
            park: self.at(root, "p", sub),
            records: self.at(root, "r", sub),
            paused: self.at(root, "z", sub),
        }
    }

    /// STREAM of a group's dead letters.
    pub(crate) fn dead_letters(&self, root: &str, group: &Group) -> String {
        self.at(root, "d", group.as_str())
    }

    /// HASH of the identity of a dead letter to its id in the stream.
    pub(crate) fn dead_index(&self, root: &str, group: &Group) -> String {
        self.at(root, "i", group.as_str())
    }

    /// SET of groups that may have dead letters.
    pub(crate) fn dead_groups(&self, root: &str) -> String {
        format!("{}:{{{root}}}:dg", self.namespace)
    }

    /// A stream that is never there, to try whether the server would take a write.
    pub(crate) fn stream_of_probe(&self) -> String {
        self.global("probe")
    }

    /// ZSET of responder groups and patterns.
    pub(crate) fn responders(&self) -> String {
        format!("{}:{{~q}}:r", self.namespace)
    }

    /// What changes whenever a responder joins.
    pub(crate) fn responders_version(&self) -> String {
        format!("{}:{{~q}}:v", self.namespace)
    }

    /// LIST of the requests of one group and pattern.
    pub(crate) fn requests(&self, responder: &str) -> String {
        format!("{}:{{~q}}:q:{responder}", self.namespace)
    }

    /// The start of every reply address.
    pub(crate) fn inbox_prefix(&self) -> String {
        format!("{}:{{~q}}:i:", self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_leads_back_to_its_topic() {
        let keys = Keys::new(Namespace::default());
        let topic = Topic::new("orders.placed").unwrap();
        assert_eq!(keys.stream(&topic), "bus:{orders}:s:orders.placed");
        assert_eq!(keys.topic_of(&keys.stream(&topic)), Some(topic));
    }
}
