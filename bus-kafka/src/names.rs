//! Names of Kafka topics and groups; `docs/wire/kafka.md` is the table of them.

use bus_api::{Group, Namespace, Pattern, SubscriptionId, Topic};

/// Makes the names of one namespace.
///
/// Kafka takes `a.b_c` and `a_b.c` for the same name, so no name of the bus holds `_`: inside tokens `-` is
/// written `--` and `_` is written `-u`.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    namespace: Namespace,
    /// How many tokens a root has at most: topics that share them share a log.
    depth: usize,
}

impl Names {
    /// The largest depth: beyond it a log has hardly more than one topic.
    pub(crate) const MOST_DEPTH: u8 = 4;

    pub(crate) fn new(namespace: Namespace, depth: u8) -> Self {
        Self {
            namespace,
            depth: usize::from(depth),
        }
    }

    /// The log of a topic.
    pub(crate) fn log(&self, topic: &Topic) -> String {
        self.log_of_root(first_tokens(topic.as_str(), self.depth))
    }

    /// The only log that may hold messages of `pattern`; `None`: there may be several.
    pub(crate) fn only_log(&self, pattern: &Pattern) -> Option<String> {
        let root = first_tokens(pattern.as_str(), self.depth);
        let is_exact = root.split('.').all(|token| token != "*" && token != ">");
        is_exact.then(|| self.log_of_root(root))
    }

    /// Whether `log` may hold messages of `pattern`.
    pub(crate) fn reaches(&self, pattern: &Pattern, log: &str) -> bool {
        let Some(root) = self.root(log) else {
            return false;
        };
        let mut tokens = pattern.as_str().split('.');
        for token in root.split('.') {
            match tokens.next() {
                Some(">") => return true,
                Some(wanted) if wanted == "*" || wanted == token => {}
                _ => return false,
            }
        }
        // A shorter root is of one topic alone.
        tokens.next().is_none() || root.split('.').count() == self.depth
    }

    /// The first tokens that all topics of a log have.
    pub(crate) fn root(&self, log: &str) -> Option<String> {
        unescape(self.rest(log, ".t.")?)
    }

    fn log_of_root(&self, root: &str) -> String {
        format!("{}.t.{}", self.namespace, escape(root))
    }

    /// What the members of the namespace tell each other: subscriptions, topics, responders.
    pub(crate) fn registry(&self) -> String {
        self.registry_of_depth(self.depth)
    }

    /// The registries that there may be beside ours, each with its depth: of who lays out the namespace
    /// otherwise.
    pub(crate) fn other_registries(&self) -> Vec<(usize, String)> {
        (1..=usize::from(Self::MOST_DEPTH))
            .filter(|depth| *depth != self.depth)
            .map(|depth| (depth, self.registry_of_depth(depth)))
            .collect()
    }

    fn registry_of_depth(&self, depth: usize) -> String {
        match depth {
            1 => format!("{}.m.registry", self.namespace),
            _ => format!("{}.m.registry-{depth}", self.namespace),
        }
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

fn first_tokens(text: &str, most: usize) -> &str {
    text.match_indices('.')
        .nth(most - 1)
        .map_or(text, |(at, _)| &text[..at])
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
        let names = Names::new(Namespace::new("shop-1").unwrap(), 1);
        for root in ["orders", "a-b", "a_b", "a--b", "a-u", "_", "-"] {
            let log = names.log(&Topic::new(root).unwrap());
            assert!(!log.contains('_'), "{log}");
            assert_eq!(names.root(&log).as_deref(), Some(root));
        }
        assert_eq!(names.log(&Topic::new("a_b.c").unwrap()), "shop-1.t.a-ub");
        assert_eq!(names.root("shop-1.d.orders"), None);
        assert_eq!(names.root("shop.t.orders"), None);
        let id = SubscriptionId::new(
            Group::new("mail_er").unwrap(),
            Pattern::new("orders.>").unwrap(),
        );
        let dead = names.dead_letters(&id);
        assert_eq!(names.group_of_dead_letters(&dead), Some(id.group));
    }

    #[test]
    fn a_pattern_reaches_the_logs_of_all_topics_that_it_matches() {
        let topics = ["a", "b", "a.b", "a.c", "a.b.c", "a.b.c.d", "b.b.c"];
        let patterns = [
            ">", "*", "a", "a.>", "a.*", "*.b", "*.b.>", "a.b", "a.b.>", "a.b.*", "a.*.c", "*.*.c",
        ];
        for depth in 1..=Names::MOST_DEPTH {
            let names = Names::new(Namespace::new("n").unwrap(), depth);
            for (pattern, topic) in patterns
                .iter()
                .flat_map(|pattern| topics.map(|topic| (pattern, topic)))
            {
                let pattern = Pattern::new(*pattern).unwrap();
                let topic = Topic::new(topic).unwrap();
                let log = names.log(&topic);
                let said = format!("{pattern} {topic} at depth {depth}");
                if pattern.matches(&topic) {
                    assert!(names.reaches(&pattern, &log), "{said}");
                    if let Some(only) = names.only_log(&pattern) {
                        assert_eq!(only, log, "{said}");
                    }
                }
                if let Some(only) = names.only_log(&pattern) {
                    assert_eq!(names.reaches(&pattern, &log), log == only, "{said}");
                }
            }
        }
        let names = Names::new(Namespace::new("n").unwrap(), 2);
        assert_eq!(names.log(&Topic::new("a.b-c.d").unwrap()), "n.t.a.b--c");
        assert_eq!(names.only_log(&Pattern::new("a.>").unwrap()), None);
        assert!(!names.reaches(&Pattern::new("a.*").unwrap(), "n.t.a"));
        assert_eq!(names.registry(), "n.m.registry-2");
    }
}
