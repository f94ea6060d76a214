//! Operations: what is there, and how far it is.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bus_api::{
    Admin, Error, ErrorKind, Health, HealthStatus, Result, Start, SubscriptionId, SubscriptionInfo,
    Topic, TopicInfo,
};

use crate::bus::ShelfBus;

#[async_trait]
impl Admin for ShelfBus {
    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        let state = self.shelf.lock();
        let topics: BTreeSet<Topic> = state
            .log
            .iter()
            .map(|stored| stored.message.topic.clone())
            .collect();
        Ok(topics
            .into_iter()
            .map(|topic| TopicInfo {
                topic,
                messages: None,
            })
            .collect())
    }

    async fn add_topic(&self, _: &Topic) -> Result<()> {
        Ok(())
    }

    async fn subscriptions(&self) -> Result<Vec<SubscriptionInfo>> {
        let state = self.shelf.lock();
        let mut infos: Vec<SubscriptionInfo> = state
            .subscriptions
            .iter()
            .map(|(id, reading)| {
                let unread = state.log[reading.next.min(state.log.len())..]
                    .iter()
                    .filter(|stored| id.pattern.matches(&stored.message.topic))
                    .count();
                let oldest = reading
                    .unsettled
                    .keys()
                    .next()
                    .map(|index| state.log[*index].position.stored_at());
                SubscriptionInfo {
                    id: id.clone(),
                    members: reading.members,
                    lag: (reading.unsettled.len() + unread) as u64,
                    pending: reading.unsettled.len() as u64,
                    oldest,
                    dropped: 0,
                    paused: *reading.paused.borrow(),
                }
            })
            .collect();
        infos.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(infos)
    }

    async fn reset(&self, _: &SubscriptionId, _: &Start, _: bool) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "the shelf cannot reset").transport("shelf"))
    }

    async fn delete(&self, subscription: &SubscriptionId, force: bool) -> Result<()> {
        let mut state = self.shelf.lock();
        let Some(reading) = state.subscriptions.get(subscription) else {
            return Err(unknown());
        };
        if reading.members > 0 && !force {
            return Err(
                Error::new(ErrorKind::InvalidArgument, "it has live members; force it")
                    .transport("shelf"),
            );
        }
        state.subscriptions.remove(subscription);
        drop(state);
        self.shelf.bell.notify_waiters();
        Ok(())
    }

    async fn pause(&self, subscription: &SubscriptionId) -> Result<()> {
        self.set_paused(subscription, true)
    }

    async fn resume(&self, subscription: &SubscriptionId) -> Result<()> {
        self.set_paused(subscription, false)
    }

    async fn health(&self) -> Health {
        Health {
            status: HealthStatus::Up,
            connected: true,
            writable: true,
            problems: Vec::new(),
            unprotected: vec!["nothing on the shelf survives the process".to_owned()],
            notices: self.notices.recent(),
            subscriptions: self.subscriptions().await.unwrap_or_default(),
            details: BTreeMap::new(),
        }
    }
}

impl ShelfBus {
    /// The members follow the flag; the core does the rest.
    fn set_paused(&self, subscription: &SubscriptionId, paused: bool) -> Result<()> {
        let state = self.shelf.lock();
        let reading = state.subscriptions.get(subscription).ok_or_else(unknown)?;
        reading.paused.send_replace(paused);
        Ok(())
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such subscription").transport("shelf")
}
