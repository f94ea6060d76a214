//! What a subscription is and how it starts.

use std::fmt;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::contract::names::Group;
use crate::contract::pattern::Pattern;
use crate::contract::position::Position;

/// The identity of a durable subscription: a group with a pattern.
///
/// One service name can be the group of many patterns; each pair keeps its own position.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId {
    /// The group.
    pub group: Group,
    /// The pattern.
    pub pattern: Pattern,
}

impl SubscriptionId {
    /// The pair of `group` and `pattern`.
    #[must_use]
    pub fn new(group: Group, pattern: Pattern) -> Self {
        Self { group, pattern }
    }

    /// The name that a broker knows it by: `{group}-{first 16 hex digits of SHA-256(pattern)}`.
    ///
    /// The adapter stores the pattern beside it and compares on joining.
    #[must_use]
    pub fn broker_name(&self) -> String {
        let digest = Sha256::digest(self.pattern.as_str());
        format!("{}-{}", self.group, hex::encode(&digest[..8]))
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.group, self.pattern)
    }
}

/// Who gets the messages of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Members of the group compete; the position survives them.
    Group(Group),
    /// This subscriber gets every message and leaves nothing behind when it ends.
    Broadcast,
}

/// Where a subscription starts when it is created; later the stored position wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// The first message still stored.
    Earliest,
    /// The first message published after `subscribe` was called; resolved once.
    #[default]
    Latest,
    /// This position, inclusive, in its own log; every other log starts at its store time.
    Position(Position),
    /// The first message that the broker stored at this time or later.
    Time(SystemTime),
}

/// What order a subscription promises across its members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Order {
    /// Each member handles one key at a time; across members there is no promise.
    #[default]
    None,
    /// No message of a topic and key starts before the earlier one is settled, retries included.
    PerKey,
}

/// What a subscription asks of an adapter.
#[derive(Clone, Debug)]
pub struct SubscriptionSpec {
    /// Group or broadcast.
    pub scope: Scope,
    /// Which topics.
    pub pattern: Pattern,
    /// Where it starts when it is new.
    pub start: Start,
    /// The order across members.
    pub order: Order,
    /// How long a member may be silent before what it holds counts as lost.
    pub lease: Duration,
    /// Most deliveries outstanding for this member.
    pub max_in_flight: usize,
}

impl SubscriptionSpec {
    /// The lease unless another one is asked for.
    pub const DEFAULT_LEASE: Duration = Duration::from_secs(30);
    /// The bound of outstanding deliveries unless another one is asked for.
    pub const DEFAULT_MAX_IN_FLIGHT: usize = 256;

    /// A subscription with the defaults: start at the latest message, no order across members.
    #[must_use]
    pub fn new(scope: Scope, pattern: Pattern) -> Self {
        Self {
            scope,
            pattern,
            start: Start::default(),
            order: Order::default(),
            lease: Self::DEFAULT_LEASE,
            max_in_flight: Self::DEFAULT_MAX_IN_FLIGHT,
        }
    }

    /// The identity, when the subscription is durable.
    #[must_use]
    pub fn id(&self) -> Option<SubscriptionId> {
        match &self.scope {
            Scope::Group(group) => Some(SubscriptionId::new(group.clone(), self.pattern.clone())),
            Scope::Broadcast => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_name_is_stable() {
        let id = SubscriptionId::new(
            Group::new("mail").unwrap(),
            Pattern::new("orders.>").unwrap(),
        );
        // printf %s 'orders.>' | sha256sum
        let expected = "mail-".to_owned() + &hex::encode(&Sha256::digest(b"orders.>")[..8]);
        assert_eq!(id.broker_name(), expected);
        assert_eq!(id.broker_name().len(), "mail-".len() + 16);
    }
}
