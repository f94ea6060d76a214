//! A connection that can be cut and killed although nothing leaves the process.

mod admin;
mod holding;
mod link;
mod requests;
mod subscription;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bus_api::{
    Admin, Bus, Capabilities, DeadLetterStore, Error, Inbound, Message, Notice, Notices, Published,
    Requests, ResponderSpec, Result, Scope, SubscriptionSpec,
};
use tokio::time::Instant;

use self::admin::SeverableAdmin;
use self::link::Link;
use crate::factory::{Connection, Disturb};

/// An adapter with a link in front of it that can be cut, healed and killed, for factories of transports
/// without a network.
///
/// While the link is cut, calls fail with `Unavailable` or wait, as the contract says for a broker that is
/// away. After [`kill`](Disturb::kill) nothing that was begun ever ends and nothing is handed back when it
/// is dropped: to the transport this looks like a process that received `kill -9`.
pub struct Severable {
    inner: Arc<dyn Bus>,
    admin: SeverableAdmin,
    link: Link,
}

impl Severable {
    /// A connection of the suite over `inner`.
    #[must_use]
    pub fn connection(inner: Arc<dyn Bus>) -> Connection {
        let link = Link::new(inner.name());
        let bus = Arc::new(Self {
            admin: SeverableAdmin::new(inner.clone(), link.clone()),
            inner: inner.clone(),
            link: link.clone(),
        });
        Connection {
            bus,
            disturb: Arc::new(Switch { link, inner }),
        }
    }
}

impl fmt::Debug for Severable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Severable").field(&self.inner).finish()
    }
}

struct Switch {
    link: Link,
    inner: Arc<dyn Bus>,
}

#[async_trait]
impl Disturb for Switch {
    async fn kill(&self) {
        self.link.kill();
        // Dropping a connection says goodbye; a killed process does not.
        std::mem::forget(self.inner.clone());
    }

    async fn cut(&self) {
        self.link.cut();
        self.inner.notices().report(Notice::Disconnected);
    }

    async fn heal(&self) {
        self.link.heal();
        self.inner.notices().report(Notice::Reconnected);
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Bus for Severable {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn publish(&self, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        match self.link.check().await {
            Ok(()) => self.link.alive(self.inner.publish(batch)).await,
            Err(error) => vec![Err(error); batch.len()],
        }
    }

    async fn subscribe(&self, spec: SubscriptionSpec) -> Result<Inbound> {
        self.link.check().await?;
        let durable = matches!(spec.scope, Scope::Group(_));
        let inbound = self.inner.subscribe(spec).await?;
        Ok(subscription::wrap(inbound, durable, &self.link))
    }

    async fn request(&self, message: Message, deadline: Instant) -> Result<Message> {
        self.link.check().await?;
        self.link.alive(self.inner.request(message, deadline)).await
    }

    async fn respond(&self, spec: ResponderSpec) -> Result<Requests> {
        self.link.check().await?;
        let requests = self.inner.respond(spec).await?;
        Ok(requests::wrap(requests, &self.link))
    }

    fn dead_letters(&self) -> &dyn DeadLetterStore {
        &self.admin
    }

    fn admin(&self) -> &dyn Admin {
        &self.admin
    }

    fn notices(&self) -> &Notices {
        self.inner.notices()
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        if self.link.up_until(deadline).await {
            return self.inner.close(deadline).await;
        }
        Err(Error::new(
            bus_api::ErrorKind::Timeout,
            "the link did not come back before the deadline of closing",
        )
        .transport(self.inner.name()))
    }
}
