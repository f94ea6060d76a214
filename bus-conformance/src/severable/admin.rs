//! Operations and dead letters through a link.

use std::sync::Arc;

use async_trait::async_trait;
use bus_api::{
    Admin, Bus, Cursor, DeadLetter, DeadLetterId, DeadLetterPage, DeadLetterStore, Group, Health,
    HealthStatus, Result, Start, SubscriptionId, SubscriptionInfo, Topic, TopicInfo,
};

use super::link::Link;

pub(super) struct SeverableAdmin {
    bus: Arc<dyn Bus>,
    link: Link,
}

impl SeverableAdmin {
    pub(super) fn new(bus: Arc<dyn Bus>, link: Link) -> Self {
        Self { bus, link }
    }

    async fn admin(&self) -> Result<&dyn Admin> {
        self.link.check().await?;
        Ok(self.bus.admin())
    }

    async fn store(&self) -> Result<&dyn DeadLetterStore> {
        self.link.check().await?;
        Ok(self.bus.dead_letters())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Admin for SeverableAdmin {
    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.admin().await?.topics().await
    }

    async fn add_topic(&self, topic: &Topic) -> Result<()> {
        self.admin().await?.add_topic(topic).await
    }

    async fn subscriptions(&self) -> Result<Vec<SubscriptionInfo>> {
        self.admin().await?.subscriptions().await
    }

    async fn reset(&self, subscription: &SubscriptionId, start: &Start, force: bool) -> Result<()> {
        self.admin().await?.reset(subscription, start, force).await
    }

    async fn delete(&self, subscription: &SubscriptionId, force: bool) -> Result<()> {
        self.admin().await?.delete(subscription, force).await
    }

    async fn pause(&self, subscription: &SubscriptionId) -> Result<()> {
        self.admin().await?.pause(subscription).await
    }

    async fn resume(&self, subscription: &SubscriptionId) -> Result<()> {
        self.admin().await?.resume(subscription).await
    }

    async fn health(&self) -> Health {
        match self.admin().await {
            Ok(admin) => admin.health().await,
            Err(error) => Health {
                status: HealthStatus::Down,
                connected: false,
                writable: false,
                problems: vec![error.to_string()],
                unprotected: Vec::new(),
                notices: self.bus.notices().recent(),
                subscriptions: Vec::new(),
                details: [("transport", self.bus.name().to_owned())].into(),
            },
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl DeadLetterStore for SeverableAdmin {
    async fn groups(&self) -> Result<Vec<Group>> {
        self.store().await?.groups().await
    }

    async fn count(&self, group: &Group) -> Result<u64> {
        self.store().await?.count(group).await
    }

    async fn page(
        &self,
        group: &Group,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<DeadLetterPage> {
        self.store().await?.page(group, cursor, limit).await
    }

    async fn get(&self, group: &Group, id: DeadLetterId) -> Result<Option<DeadLetter>> {
        self.store().await?.get(group, id).await
    }

    async fn remove(&self, group: &Group, ids: &[DeadLetterId]) -> Result<u64> {
        self.store().await?.remove(group, ids).await
    }
}
