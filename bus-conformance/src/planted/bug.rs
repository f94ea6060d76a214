//! Bugs that a decorator can plant into any bus.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bus_api::{Admin, AttemptRecord, Capabilities, Inflow};
use bus_api::{
    Bus, Cursor, DeadLetterId, DeadLetterPage, DeadLetterStore, Delivery, Group, Health, Inbound,
    IncomingRequest, Message, Published, Receipt, Receiver, Replier, ReplyTo, Requests,
    ResponderSpec, Result, Settlement, Settler, Start, SubscriptionId, SubscriptionInfo,
    SubscriptionSpec,
};
use tokio::time::Instant;

/// One way of being wrong. Every method passes on honestly unless a bug replaces it.
///
/// One value is shared by all connections of a run, so a bug may remember what it likes.
#[async_trait]
pub(crate) trait Bug: Debug + Send + Sync + 'static {
    fn capabilities(&self, honest: Capabilities) -> Capabilities {
        honest
    }

    /// Options of the URL that never arrive.
    fn options<'a>(&self, honest: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        honest.to_vec()
    }

    async fn publish(&self, bus: &dyn Bus, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        bus.publish(batch).await
    }

    async fn subscribe(&self, bus: &Arc<dyn Bus>, spec: SubscriptionSpec) -> Result<Inbound> {
        bus.subscribe(spec).await
    }

    async fn receive(&self, receiver: &mut dyn Receiver, max: usize) -> Result<Inflow> {
        receiver.receive(max).await
    }

    /// What is handed out of what was received.
    fn deliver(
        &self,
        _: &SubscriptionSpec,
        _: &Arc<dyn Settler>,
        honest: Vec<Delivery>,
    ) -> Vec<Delivery> {
        honest
    }

    async fn settle(
        &self,
        _: &Arc<dyn Bus>,
        settler: &Arc<dyn Settler>,
        batch: Vec<(Receipt, Settlement)>,
    ) -> Vec<Result<()>> {
        settler.settle(batch).await
    }

    async fn mark(
        &self,
        settler: &dyn Settler,
        batch: Vec<(Receipt, AttemptRecord)>,
    ) -> Vec<Result<()>> {
        settler.mark(batch).await
    }

    async fn extend(&self, settler: &dyn Settler, batch: &[Receipt]) -> Vec<Result<()>> {
        settler.extend(batch).await
    }

    async fn leave(&self, settler: &dyn Settler, deadline: Instant) -> Result<()> {
        settler.leave(deadline).await
    }

    async fn request(&self, bus: &dyn Bus, message: Message, deadline: Instant) -> Result<Message> {
        bus.request(message, deadline).await
    }

    async fn respond(&self, bus: &Arc<dyn Bus>, spec: ResponderSpec) -> Result<Requests> {
        bus.respond(spec).await
    }

    /// What a responder gets of what arrived.
    fn requests(&self, honest: Vec<IncomingRequest>) -> Vec<IncomingRequest> {
        honest
    }

    async fn reply(
        &self,
        replier: &dyn Replier,
        batch: Vec<(ReplyTo, Message)>,
    ) -> Vec<Result<()>> {
        replier.reply(batch).await
    }

    async fn count(&self, store: &dyn DeadLetterStore, group: &Group) -> Result<u64> {
        store.count(group).await
    }

    async fn page(
        &self,
        store: &dyn DeadLetterStore,
        group: &Group,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<DeadLetterPage> {
        store.page(group, cursor, limit).await
    }

    async fn remove(
        &self,
        store: &dyn DeadLetterStore,
        group: &Group,
        ids: &[DeadLetterId],
    ) -> Result<u64> {
        store.remove(group, ids).await
    }

    async fn subscriptions(&self, admin: &dyn Admin) -> Result<Vec<SubscriptionInfo>> {
        admin.subscriptions().await
    }

    async fn reset(
        &self,
        admin: &dyn Admin,
        id: &SubscriptionId,
        start: &Start,
        force: bool,
    ) -> Result<()> {
        admin.reset(id, start, force).await
    }

    async fn delete(&self, admin: &dyn Admin, id: &SubscriptionId, force: bool) -> Result<()> {
        admin.delete(id, force).await
    }

    async fn pause(&self, admin: &dyn Admin, id: &SubscriptionId) -> Result<()> {
        admin.pause(id).await
    }

    async fn resume(&self, admin: &dyn Admin, id: &SubscriptionId) -> Result<()> {
        admin.resume(id).await
    }

    async fn health(&self, admin: &dyn Admin) -> Health {
        admin.health().await
    }

    async fn close(&self, bus: &dyn Bus, deadline: Instant) -> Result<()> {
        bus.close(deadline).await
    }
}
