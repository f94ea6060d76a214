//! Subscriptions through a link.

use std::sync::Arc;

use async_trait::async_trait;
use bus_api::{
    AttemptRecord, Error, ErrorKind, Inbound, Inflow, Receipt, Receiver, Result, Settlement,
    Settler,
};
use tokio::time::Instant;

use super::link::Link;

pub(super) fn wrap(inbound: Inbound, link: &Link) -> Inbound {
    Inbound {
        receiver: Box::new(Receiving {
            inner: Some(inbound.receiver),
            link: link.clone(),
        }),
        settler: Arc::new(Settling {
            inner: Some(inbound.settler),
            link: link.clone(),
        }),
        lease: inbound.lease,
        paused: inbound.paused,
    }
}

struct Receiving {
    /// `None` only while it is dropped.
    inner: Option<Box<dyn Receiver>>,
    link: Link,
}

#[async_trait]
impl Receiver for Receiving {
    async fn receive(&mut self, max: usize) -> Result<Inflow> {
        let Some(inner) = &mut self.inner else {
            return Err(Error::new(ErrorKind::Closed, "this subscription has ended"));
        };
        loop {
            self.link.up().await;
            tokio::select! {
                biased;
                () = self.link.down() => {}
                inflow = inner.receive(max) => return inflow,
            }
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if self.link.is_dead() {
            std::mem::forget(self.inner.take());
        }
    }
}

struct Settling {
    /// `None` only while it is dropped.
    inner: Option<Arc<dyn Settler>>,
    link: Link,
}

impl Settling {
    async fn inner(&self) -> Option<&Arc<dyn Settler>> {
        self.link.up().await;
        self.inner.as_ref()
    }
}

#[async_trait]
impl Settler for Settling {
    async fn settle(&self, batch: Vec<(Receipt, Settlement)>) -> Vec<Result<()>> {
        match self.inner().await {
            Some(inner) => self.link.alive(inner.settle(batch)).await,
            None => Vec::new(),
        }
    }

    async fn mark(&self, batch: Vec<(Receipt, AttemptRecord)>) -> Vec<Result<()>> {
        match self.inner().await {
            Some(inner) => self.link.alive(inner.mark(batch)).await,
            None => Vec::new(),
        }
    }

    async fn extend(&self, batch: &[Receipt]) -> Vec<Result<()>> {
        if let Err(error) = self.link.check().await {
            return vec![Err(error); batch.len()];
        }
        match &self.inner {
            Some(inner) => self.link.alive(inner.extend(batch)).await,
            None => Vec::new(),
        }
    }

    async fn leave(&self, deadline: Instant) -> Result<()> {
        match &self.inner {
            Some(inner) if self.link.up_until(deadline).await => inner.leave(deadline).await,
            _ => Err(Error::new(
                ErrorKind::Timeout,
                "the link did not come back before the deadline of leaving",
            )),
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        if self.link.is_dead() {
            std::mem::forget(self.inner.take());
        }
    }
}
