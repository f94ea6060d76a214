//! Names of streams, subjects and consumers; `docs/wire/nats.md` is the table of them.

use bus_api::{DeadLetterId, Group, Namespace, Pattern, Topic};

/// Makes the names of one namespace.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    namespace: Namespace,
}

impl Keys {
    pub(crate) fn new(namespace: Namespace) -> Self {
        Self { namespace }
    }

    /// The stream of messages.
    pub(crate) fn data(&self) -> String {
        format!("{}-t", self.namespace)
    }

    /// The stream of dead letters.
    pub(crate) fn dead(&self) -> String {
        format!("{}-d", self.namespace)
    }

    /// The stream of bookkeeping.
    pub(crate) fn books(&self) -> String {
        format!("{}-m", self.namespace)
    }

    /// What a stream of this kind (`t`, `d`, `m`) captures.
    pub(crate) fn all(&self, kind: char) -> String {
        format!("{}.{kind}.>", self.namespace)
    }

    pub(crate) fn topic(&self, topic: &Topic) -> String {
        [self.namespace.as_str(), ".t.", topic.as_str()].concat()
    }

    pub(crate) fn pattern(&self, pattern: &Pattern) -> String {
        format!("{}.t.{pattern}", self.namespace)
    }

    /// Where the question goes that is asked behind publishes: among messages, and never stored.
    pub(crate) fn unanswered(&self) -> String {
        format!("{}.t.unanswered", self.namespace)
    }

    /// The topic's text of a subject of messages.
    pub(crate) fn topic_of<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject
            .strip_prefix(self.namespace.as_str())?
            .strip_prefix(".t.")
    }

    pub(crate) fn dead_letter(&self, group: &Group, id: DeadLetterId) -> String {
        format!("{}.d.{group}.{id}", self.namespace)
    }

    /// Part of the dead letter at `subject`, which is one of this namespace.
    pub(crate) fn part(&self, subject: &str, name: &str, index: usize) -> String {
        let entry = subject.strip_prefix(&*self.all('d').replace('>', ""));
        let entry = entry.unwrap_or(subject);
        format!("{}.m.d.{entry}.{name}.{index}", self.namespace)
    }

    /// All parts of dead letters of a group.
    pub(crate) fn parts(&self, group: &Group) -> String {
        format!("{}.m.d.{group}.>", self.namespace)
    }

    /// The group and id of the dead letter that a subject is a part of.
    pub(crate) fn entry_of<'a>(&self, part: &'a str) -> Option<&'a str> {
        let rest = part.strip_prefix(&*self.all('m').replace('>', "d."))?;
        let (rest, _) = rest.rsplit_once('.')?;
        rest.rsplit_once('.').map(|(entry, _)| entry)
    }

    /// All dead letters of a group.
    pub(crate) fn dead_letters(&self, group: &Group) -> String {
        format!("{}.d.{group}.>", self.namespace)
    }

    /// The group of a subject of dead letters.
    pub(crate) fn group_of<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let rest = subject
            .strip_prefix(self.namespace.as_str())?
            .strip_prefix(".d.")?;
        rest.split('.').next()
    }

    /// The record of a durable subscription.
    pub(crate) fn subscription(&self, sub: &str) -> String {
        format!("{}.m.s.{sub}", self.namespace)
    }

    /// What is recorded of one message of a subscription.
    pub(crate) fn record(&self, sub: &str, era: u64, sequence: u64) -> String {
        format!("{}.m.a.{sub}.{era}.{sequence}", self.namespace)
    }

    /// All that is recorded of the messages of a subscription.
    pub(crate) fn records(&self, sub: &str, era: u64) -> String {
        format!("{}.m.a.{sub}.{era}.>", self.namespace)
    }

    /// The presence of a member.
    pub(crate) fn member(&self, sub: &str, member: &str) -> String {
        format!("{}.m.p.{sub}.{member}", self.namespace)
    }

    /// The presence of all members.
    pub(crate) fn members(&self, sub: &str) -> String {
        format!("{}.m.p.{sub}.*", self.namespace)
    }

    /// A topic that is known without a message.
    pub(crate) fn known_topic(&self, topic: &str) -> String {
        format!("{}.m.t.{topic}", self.namespace)
    }

    /// Who of an ordered subscription is active.
    pub(crate) fn active(&self, sub: &str) -> String {
        format!("{}.m.l.{sub}", self.namespace)
    }

    /// What the server remembered of a subscription, run by run.
    pub(crate) fn runs(&self, sub: &str) -> String {
        format!("{}.m.r.{sub}", self.namespace)
    }

    /// The lease of whoever looks after something of the namespace.
    pub(crate) fn keeper(&self, what: &str) -> String {
        format!("{}.m.k.{what}", self.namespace)
    }

    pub(crate) fn request(&self, topic: &Topic) -> String {
        [self.namespace.as_str(), ".q.", topic.as_str()].concat()
    }

    pub(crate) fn requests(&self, pattern: &Pattern) -> String {
        format!("{}.q.{pattern}", self.namespace)
    }

    /// The topic's text of a subject of requests.
    pub(crate) fn request_topic_of<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject
            .strip_prefix(self.namespace.as_str())?
            .strip_prefix(".q.")
    }

    /// Where replies to a requester go, without the number of the request.
    pub(crate) fn replies(&self, requester: &str) -> String {
        format!("{}.r.{requester}", self.namespace)
    }

    /// Whether an address is of the form that requesters of this namespace make.
    pub(crate) fn is_reply_address(&self, address: &str) -> bool {
        let parts = address
            .strip_prefix(self.namespace.as_str())
            .and_then(|rest| rest.strip_prefix(".r."))
            .and_then(|rest| rest.split_once('.'));
        let Some((requester, number)) = parts else {
            return false;
        };
        requester.len() == 32
            && requester.bytes().all(|byte| byte.is_ascii_hexdigit())
            && (1..=20).contains(&number.len())
            && number.bytes().all(|byte| byte.is_ascii_digit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        let keys = Keys::new(Namespace::new("shop").unwrap());
        let topic = Topic::new("orders.placed").unwrap();
        assert_eq!(keys.topic(&topic), "shop.t.orders.placed");
        assert_eq!(keys.topic_of("shop.t.orders.placed"), Some("orders.placed"));
        assert_eq!(keys.topic_of("shop2.t.orders.placed"), None);
        assert_eq!(keys.group_of("shop.d.mail.abc"), Some("mail"));
    }

    #[test]
    fn only_addresses_of_the_namespace_are_replied_to() {
        let keys = Keys::new(Namespace::default());
        let id = "0123456789abcdef0123456789abcdef";
        assert!(keys.is_reply_address(&format!("bus.r.{id}.17")));
        for wrong in [
            "forged".to_owned(),
            format!("other.r.{id}.17"),
            format!("bus.r.{id}"),
            format!("bus.r.{id}.x"),
            format!("bus.r.{id}.1.2"),
            format!("bus.t.{id}.1"),
            "bus.r.short.1".to_owned(),
        ] {
            assert!(!keys.is_reply_address(&wrong), "{wrong}");
        }
    }
}
