//! Operations: topics, subscriptions, health.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bus_api::{
    Admin, Health, HealthStatus, Provision, Result, Start, SubscriptionId, SubscriptionInfo, Topic,
    TopicInfo,
};
use tokio::time::Instant;

use crate::bus::MemoryBus;
use crate::error::{invalid_argument, no_subscription, not_found};
use crate::slab::Key;
use crate::state::State;

impl State {
    fn subscription_infos(&self) -> Vec<SubscriptionInfo> {
        self.durable
            .iter()
            .filter_map(|(id, key)| {
                let subscription = self.subscriptions.get(*key)?;
                let oldest = subscription
                    .oldest(&self.store)
                    .and_then(|number| self.store.get(number));
                Some(SubscriptionInfo {
                    id: id.clone(),
                    members: subscription.members().len() as u64,
                    lag: subscription.lag(),
                    pending: subscription.pending(),
                    oldest: oldest.map(|stored| stored.stored_at),
                    dropped: subscription.dropped(),
                    paused: *subscription.paused.borrow(),
                })
            })
            .collect()
    }

    fn set_paused(&self, id: &SubscriptionId, paused: bool) -> Result<()> {
        let key = self.durable.get(id).ok_or_else(|| no_subscription(id))?;
        if let Some(subscription) = self.subscriptions.get(*key) {
            subscription.paused.send_replace(paused);
        }
        Ok(())
    }

    /// The durable subscription, when it may be changed.
    fn changeable(&self, id: &SubscriptionId, force: bool) -> Result<Key> {
        let key = self.durable.get(id).ok_or_else(|| no_subscription(id))?;
        let live = self
            .subscriptions
            .get(*key)
            .is_some_and(|subscription| !subscription.members().is_empty());
        if live && !force {
            return Err(invalid_argument(
                "the subscription has live members; stop them, or force it",
            )
            .with("subscription", id));
        }
        Ok(*key)
    }
}

#[async_trait]
impl Admin for MemoryBus {
    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        let mut state = self.enter()?;
        state.expire(Instant::now());
        let mut counts: HashMap<Key, u64> = HashMap::new();
        for (_, stored) in state.store.iter() {
            *counts.entry(stored.log).or_default() += 1;
        }
        let mut topics: Vec<_> = state
            .topics
            .iter()
            .map(|(topic, key)| TopicInfo {
                topic: topic.clone(),
                messages: Some(counts.get(key).copied().unwrap_or_default()),
            })
            .collect();
        topics.sort_unstable_by(|a, b| a.topic.cmp(&b.topic));
        Ok(topics)
    }

    async fn add_topic(&self, topic: &Topic) -> Result<()> {
        let space = &self.connection().space;
        let mut state = self.enter()?;
        if self.config().settings.provision != Provision::Create
            && !state.topics.contains_key(topic)
        {
            return Err(not_found(
                "the topic does not exist and `provision` does not allow to make it",
            )
            .with("topic", topic));
        }
        state.log(topic, space.broker());
        Ok(())
    }

    async fn subscriptions(&self) -> Result<Vec<SubscriptionInfo>> {
        let (infos, drops) = {
            let mut state = self.enter()?;
            state.expire(Instant::now());
            (state.subscription_infos(), state.take_drops())
        };
        self.connection().space.report(&drops);
        Ok(infos)
    }

    async fn reset(&self, subscription: &SubscriptionId, start: &Start, force: bool) -> Result<()> {
        let mut state = self.enter()?;
        state.expire(Instant::now());
        let key = state.changeable(subscription, force)?;
        state.restart(key, start)?;
        drop(state);
        self.connection().space.note_idle();
        Ok(())
    }

    async fn delete(&self, subscription: &SubscriptionId, force: bool) -> Result<()> {
        let mut state = self.enter()?;
        let key = state.changeable(subscription, force)?;
        state.remove(key);
        drop(state);
        self.connection().space.note_idle();
        Ok(())
    }

    async fn pause(&self, subscription: &SubscriptionId) -> Result<()> {
        self.enter()?.set_paused(subscription, true)
    }

    async fn resume(&self, subscription: &SubscriptionId) -> Result<()> {
        self.enter()?.set_paused(subscription, false)
    }

    async fn health(&self) -> Health {
        let connection = self.connection();
        let mut health = Health {
            status: HealthStatus::Up,
            connected: true,
            writable: true,
            problems: Vec::new(),
            unprotected: vec![
                "everything is lost when this process ends: nothing is written to a disk"
                    .to_owned(),
            ],
            notices: Vec::new(),
            subscriptions: Vec::new(),
            details: BTreeMap::new(),
        };
        if let Err(error) = connection.usable() {
            health.status = HealthStatus::Down;
            (health.connected, health.writable) = (false, false);
            health.problems.push(error.to_string());
            health.notices = connection.notices.recent();
            return health;
        }
        let drops = {
            let mut state = connection.space.lock();
            state.expire(Instant::now());
            if let Some(error) = state.is_full() {
                health.writable = false;
                health.problems.push(error.to_string());
            }
            health.subscriptions = state.subscription_infos();
            health.details = state.details();
            state.take_drops()
        };
        connection.space.report(&drops);
        for subscription in &health.subscriptions {
            let id = &subscription.id;
            if subscription.dropped > 0 {
                health.problems.push(format!(
                    "retention dropped {} messages that {id} had not settled",
                    subscription.dropped
                ));
            }
            if subscription.lag > 0 && subscription.members == 0 {
                health.problems.push(format!(
                    "{id} has {} unsettled messages and no member",
                    subscription.lag
                ));
            }
        }
        if !health.problems.is_empty() {
            health.status = HealthStatus::Degraded;
        }
        health.notices = connection.notices.recent();
        let refused = connection.refused_replies.load(Ordering::Relaxed);
        health
            .details
            .insert("refused_replies", refused.to_string());
        let name = self.broker().name().unwrap_or_default().to_owned();
        health.details.insert("broker", name);
        health
    }
}
