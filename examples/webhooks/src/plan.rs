//! What has to come out, derived from what goes in.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use bus::Event;

use crate::events::GitHub;
use crate::notify::{ATTEMPTS, Fate};

/// The counts of a run, before it starts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Webhooks to publish; `audit` and `notify` get each of them.
    pub published: u64,
    /// Different topics among them.
    pub topics: u64,
    /// How many belong to a repository and therefore have a key.
    pub keyed: u64,
    /// How many of each kind.
    pub kinds: BTreeMap<String, u64>,
    /// Pushes, pull requests and check runs: what `ci` gets.
    pub builds: u64,
    /// Handlers of `notify` that run because an earlier attempt failed.
    pub retried: u64,
    /// What `notify` gives up.
    pub given_up: u64,
}

impl Plan {
    /// The counts when `events` are sent `repeat` times.
    pub fn of(events: &[GitHub], repeat: u32) -> Result<Self> {
        let times = u64::from(repeat);
        let mut plan = Self::default();
        let mut topics = BTreeSet::new();
        for event in events {
            topics.insert(event.topic()?);
            plan.published += times;
            *plan.kinds.entry(event.kind().to_owned()).or_default() += times;
            if event.key().is_some() {
                plan.keyed += times;
            }
            if !matches!(event, GitHub::Other(_)) {
                plan.builds += times;
            }
            match Fate::of(event) {
                Fate::Sent => {}
                Fate::Busy => plan.retried += times,
                Fate::NoChannel => {
                    plan.retried += u64::from(ATTEMPTS - 1) * times;
                    plan.given_up += times;
                }
                Fate::Refused => plan.given_up += times,
            }
        }
        plan.topics = u64::try_from(topics.len())?;
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input;

    #[test]
    fn the_counts_of_the_examples() {
        let events = input::read(None).unwrap().events;
        let plan = Plan::of(&events, 2).unwrap();
        assert_eq!((plan.published, plan.topics, plan.keyed), (658, 161, 560));
        assert_eq!((plan.builds, plan.kinds.len()), (90, 58));
        assert_eq!((plan.given_up, plan.retried), (2 * 52, 2 * (49 * 2 + 13)));
    }
}
