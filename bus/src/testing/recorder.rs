//! A bus that passes everything on and writes it down.

use std::sync::Arc;

use async_trait::async_trait;
use bus_api::{
    Admin, Bus, Capabilities, DeadLetterStore, Inbound, Message, Notices, Published, Requests,
    ResponderSpec, Result, Scope, SubscriptionSpec,
};
use tokio::time::Instant;

use super::book::{Book, Entries};
use super::faults::{Faults, Operation};
use super::inbound;

/// Passes everything on to `inner`, unless it is to fail, and writes it down.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) inner: Arc<dyn Bus>,
    pub(super) book: Arc<Book>,
    pub(super) faults: Arc<Faults>,
}

/// A publish that is under way, also when its future is dropped.
struct Publishing<'a> {
    book: &'a Book,
    joined_below: u64,
}

impl<'a> Publishing<'a> {
    fn begin(book: &'a Book) -> Self {
        let joined_below = book.write(Entries::publishing);
        Self { book, joined_below }
    }
}

impl Drop for Publishing<'_> {
    fn drop(&mut self) {
        self.book.write(Entries::published);
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Bus for Recorder {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn publish(&self, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        let publishing = Publishing::begin(&self.book);
        self.faults.latency(Operation::Publish).await;
        let checks: Vec<_> = batch
            .iter()
            .map(|_| self.faults.check(Operation::Publish))
            .collect();
        let passed: Vec<_> = batch
            .into_iter()
            .zip(&checks)
            .filter_map(|(message, check)| check.is_ok().then_some(message))
            .collect();
        let mut stored = self.inner.publish(passed.clone()).await;
        self.book.write(|entries| {
            for (message, result) in passed.into_iter().zip(&stored) {
                if matches!(result, Ok(published) if !published.duplicate) {
                    entries.stored(&message.topic, publishing.joined_below);
                    entries.published.push(message);
                }
            }
        });
        let mut stored = stored.drain(..);
        checks
            .into_iter()
            .filter_map(|check| match check {
                Ok(()) => stored.next(),
                Err(error) => Some(Err(error)),
            })
            .collect()
    }

    async fn subscribe(&self, spec: SubscriptionSpec) -> Result<Inbound> {
        self.faults.latency(Operation::Subscribe).await;
        self.faults.check(Operation::Subscribe)?;
        let (scope, pattern) = (spec.scope.clone(), spec.pattern.clone());
        let inner = self.inner.subscribe(spec).await?;
        Ok(match scope {
            Scope::Group(group) => inbound::group(inner, group, pattern, self),
            Scope::Broadcast => inbound::broadcast(inner, pattern, self),
        })
    }

    async fn request(&self, message: Message, deadline: Instant) -> Result<Message> {
        self.faults.latency(Operation::Request).await;
        self.faults.check(Operation::Request)?;
        self.inner.request(message, deadline).await
    }

    async fn respond(&self, spec: ResponderSpec) -> Result<Requests> {
        self.inner.respond(spec).await
    }

    fn dead_letters(&self) -> &dyn DeadLetterStore {
        self.inner.dead_letters()
    }

    fn admin(&self) -> &dyn Admin {
        self.inner.admin()
    }

    fn notices(&self) -> &Notices {
        self.inner.notices()
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        self.inner.close(deadline).await
    }
}
