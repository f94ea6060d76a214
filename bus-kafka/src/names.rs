//! Names of Kafka topics and groups; `docs/wire/kafka.md` is the table of them.

use bus_api::{Group, Namespace, Pattern, SubscriptionId};

/// Makes the names of one namespace.
///
/// Kafka takes `a.b_c` and `a_b.c` for the same name, so no name of the bus holds `_`: inside tokens `-` is
/// written `--` and `_` is written `-u`.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    namespace: Namespace,
}

impl Names {
    pub(crate) fn new(namespace: Namespace) -> Self {
        Self { namespace }
    }

    /// The log of a root token.
    pub(crate) fn log(&self, root: &str) -> String {
        format!("{}.t.{}", self.namespace, escape(root))
    }

    /// The root token of a log's name.
    pub(crate) fn root(&self, log: &str) -> Option<String> {
        unescape(self.rest(log, ".t.")?)
    }

    /// What the members of the namespace tell each other: subscriptions, topics, responders.
    pub(crate) fn registry(&self) -> String {
        format!("{}.m.registry", self.namespace)
    }

    /// The consumer group of a durable subscription.
    pub(crate) fn group(&self, id: &SubscriptionId) -> String {
        format!("{}.s.{}", self.namespace, id.broker_name())
    }

    /// The dead letters of a subscription.
    pub(crate) fn dead_letters(&self, id: &SubscriptionId) -> String {
        format!("{}.d.{}", self.namespace, escape(&id.broker_name()))
    }

    /// The group whose dead letters lie in this topic.
    pub(crate) fn group_of_dead_letters(&self, topic: &str) -> Option<Group> {
        let name = unescape(self.rest(topic, ".d.")?)?;
        let (group, _) = name.rsplit_once('-')?;
        Group::new(group).ok()
    }

    /// The requests of the namespace.
    pub(crate) fn requests(&self) -> String {
        format!("{}.q.0", self.namespace)
    }

    /// The consumer group of responders.
    pub(crate) fn responders(&self, group: &Group, pattern: &Pattern) -> String {
        let id = SubscriptionId::new(group.clone(), pattern.clone());
        format!("{}.q.{}", self.namespace, id.broker_name())
    }

    /// The replies of the namespace.
    pub(crate) fn replies(&self) -> String {
        format!("{}.r.0", self.namespace)
    }

    /// A group that never joins: the client library wants a name.
    pub(crate) fn no_group(&self) -> String {
        format!("{}.n", self.namespace)
    }

    fn rest<'a>(&self, topic: &'a str, kind: &str) -> Option<&'a str> {
        topic
            .strip_prefix(self.namespace.as_str())?
            .strip_prefix(kind)
    }
}

fn escape(token: &str) -> String {
    token.replace('-', "--").replace('_', "-u")
}

fn unescape(token: &str) -> Option<String> {
    let mut text = String::with_capacity(token.len());
    let mut rest = token.chars();
    while let Some(character) = rest.next() {
        text.push(match character {
            '-' => match rest.next()? {
                '-' => '-',
                'u' => '_',
                _ => return None,
            },
            other => other,
        });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_and_collide_with_no_other() {
        let names = Names::new(Namespace::new("shop-1").unwrap());
        for root in ["orders", "a-b", "a_b", "a--b", "a-u", "_", "-"] {
            let log = names.log(root);
            assert!(!log.contains('_'), "{log}");
            assert_eq!(names.root(&log).as_deref(), Some(root));
        }
        assert_eq!(names.log("a_b"), "shop-1.t.a-ub");
        assert_eq!(names.root("shop-1.d.orders"), None);
        assert_eq!(names.root("shop.t.orders"), None);
        let id = SubscriptionId::new(
            Group::new("mail_er").unwrap(),
            Pattern::new("orders.>").unwrap(),
        );
        let dead = names.dead_letters(&id);
        assert_eq!(names.group_of_dead_letters(&dead), Some(id.group));
    }
}
