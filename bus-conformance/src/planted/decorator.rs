//! A bus with a bug planted into it.

use std::sync::Arc;

use async_trait::async_trait;
use bus_api::{
    Admin, AttemptRecord, Bus, Capabilities, Cursor, DeadLetter, DeadLetterId, DeadLetterPage,
    DeadLetterStore, Group, Health, Inbound, IncomingRequest, Inflow, Message, Notices, Published,
    Receipt, Receiver, Replier, ReplyTo, RequestReceiver, Requests, ResponderSpec, Result,
    Settlement, Settler, Start, SubscriptionId, SubscriptionInfo, SubscriptionSpec, Topic,
    TopicInfo,
};
use tokio::time::Instant;

use crate::planted::bug::Bug;

/// A bus with a bug planted into it.
#[derive(Debug)]
pub(crate) struct Planted {
    inner: Arc<dyn Bus>,
    bug: Arc<dyn Bug>,
}

impl Planted {
    pub(crate) fn new(inner: Arc<dyn Bus>, bug: Arc<dyn Bug>) -> Self {
        Self { inner, bug }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Bus for Planted {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.bug.capabilities(self.inner.capabilities())
    }

    async fn publish(&self, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        self.bug.publish(&*self.inner, batch).await
    }

    async fn subscribe(&self, spec: SubscriptionSpec) -> Result<Inbound> {
        let inbound = self.bug.subscribe(&self.inner, spec.clone()).await?;
        let receiver = PlantedReceiver {
            inner: inbound.receiver,
            settler: inbound.settler.clone(),
            spec,
            bug: self.bug.clone(),
        };
        let settler = PlantedSettler {
            inner: inbound.settler,
            bus: self.inner.clone(),
            bug: self.bug.clone(),
        };
        Ok(Inbound {
            receiver: Box::new(receiver),
            settler: Arc::new(settler),
            lease: inbound.lease,
            paused: inbound.paused,
        })
    }

    async fn request(&self, message: Message, deadline: Instant) -> Result<Message> {
        self.bug.request(&*self.inner, message, deadline).await
    }

    async fn respond(&self, spec: ResponderSpec) -> Result<Requests> {
        let requests = self.bug.respond(&self.inner, spec).await?;
        Ok(Requests {
            receiver: Box::new(PlantedRequests {
                inner: requests.receiver,
                bug: self.bug.clone(),
            }),
            replier: Arc::new(PlantedReplier {
                inner: requests.replier,
                bug: self.bug.clone(),
            }),
        })
    }

    fn dead_letters(&self) -> &dyn DeadLetterStore {
        self
    }

    fn admin(&self) -> &dyn Admin {
        self
    }

    fn notices(&self) -> &Notices {
        self.inner.notices()
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        self.bug.close(&*self.inner, deadline).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl DeadLetterStore for Planted {
    async fn groups(&self) -> Result<Vec<Group>> {
        self.inner.dead_letters().groups().await
    }

    async fn count(&self, group: &Group) -> Result<u64> {
        self.bug.count(self.inner.dead_letters(), group).await
    }

    async fn page(
        &self,
        group: &Group,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<DeadLetterPage> {
        self.bug
            .page(self.inner.dead_letters(), group, cursor, limit)
            .await
    }

    async fn get(&self, group: &Group, id: DeadLetterId) -> Result<Option<DeadLetter>> {
        self.inner.dead_letters().get(group, id).await
    }

    async fn remove(&self, group: &Group, ids: &[DeadLetterId]) -> Result<u64> {
        self.bug.remove(self.inner.dead_letters(), group, ids).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Admin for Planted {
    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.inner.admin().topics().await
    }

    async fn add_topic(&self, topic: &Topic) -> Result<()> {
        self.inner.admin().add_topic(topic).await
    }

    async fn subscriptions(&self) -> Result<Vec<SubscriptionInfo>> {
        self.bug.subscriptions(self.inner.admin()).await
    }

    async fn reset(&self, subscription: &SubscriptionId, start: &Start, force: bool) -> Result<()> {
        self.bug
            .reset(self.inner.admin(), subscription, start, force)
            .await
    }

    async fn delete(&self, subscription: &SubscriptionId, force: bool) -> Result<()> {
        self.bug
            .delete(self.inner.admin(), subscription, force)
            .await
    }

    async fn pause(&self, subscription: &SubscriptionId) -> Result<()> {
        self.bug.pause(self.inner.admin(), subscription).await
    }

    async fn resume(&self, subscription: &SubscriptionId) -> Result<()> {
        self.bug.resume(self.inner.admin(), subscription).await
    }

    async fn health(&self) -> Health {
        self.bug.health(self.inner.admin()).await
    }
}

struct PlantedReceiver {
    inner: Box<dyn Receiver>,
    settler: Arc<dyn Settler>,
    spec: SubscriptionSpec,
    bug: Arc<dyn Bug>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Receiver for PlantedReceiver {
    async fn receive(&mut self, max: usize) -> Result<Inflow> {
        loop {
            match self.bug.receive(&mut *self.inner, max).await? {
                Inflow::Deliveries(honest) => {
                    let deliveries = self.bug.deliver(&self.spec, &self.settler, honest);
                    if !deliveries.is_empty() {
                        return Ok(Inflow::Deliveries(deliveries));
                    }
                }
                news => return Ok(news),
            }
        }
    }
}

struct PlantedSettler {
    inner: Arc<dyn Settler>,
    bus: Arc<dyn Bus>,
    bug: Arc<dyn Bug>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Settler for PlantedSettler {
    async fn settle(&self, batch: Vec<(Receipt, Settlement)>) -> Vec<Result<()>> {
        self.bug.settle(&self.bus, &self.inner, batch).await
    }

    fn ack_at_once(&self, _receipt: Receipt) -> bool {
        // Bugs are planted in `settle`: nothing goes past it.
        false
    }

    async fn mark(&self, batch: Vec<(Receipt, AttemptRecord)>) -> Vec<Result<()>> {
        self.bug.mark(&*self.inner, batch).await
    }

    async fn extend(&self, batch: &[Receipt]) -> Vec<Result<()>> {
        self.bug.extend(&*self.inner, batch).await
    }

    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.bug.leave(&*self.inner, deadline).await
    }
}

struct PlantedRequests {
    inner: Box<dyn RequestReceiver>,
    bug: Arc<dyn Bug>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl RequestReceiver for PlantedRequests {
    async fn receive(&mut self, max: usize) -> Result<Vec<IncomingRequest>> {
        loop {
            let requests = self.bug.requests(self.inner.receive(max).await?);
            if !requests.is_empty() {
                return Ok(requests);
            }
        }
    }
}

struct PlantedReplier {
    inner: Arc<dyn Replier>,
    bug: Arc<dyn Bug>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Replier for PlantedReplier {
    async fn reply(&self, batch: Vec<(ReplyTo, Message)>) -> Vec<Result<()>> {
        self.bug.reply(&*self.inner, batch).await
    }

    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.inner.leave(deadline).await
    }
}
