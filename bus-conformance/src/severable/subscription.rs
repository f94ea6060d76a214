//! Subscriptions through a link.

use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use bus_api::{
    AttemptRecord, Error, ErrorKind, Inbound, Inflow, Receipt, Receiver, Result, Settlement,
    Settler,
};
use tokio::time::Instant;

use super::holding::Holding;
use super::link::Link;

pub(super) fn wrap(inbound: Inbound, durable: bool, link: &Link) -> Inbound {
    // A broadcast has no leases.
    let holding = durable.then(|| Arc::new(Holding::new(inbound.lease)));
    Inbound {
        receiver: Box::new(Receiving {
            inner: Some(inbound.receiver),
            link: link.clone(),
            holding: holding.clone(),
        }),
        settler: Arc::new(Settling {
            inner: Some(inbound.settler),
            link: link.clone(),
            holding,
        }),
        lease: inbound.lease,
        paused: inbound.paused,
    }
}

struct Receiving {
    /// `None` only while it is dropped.
    inner: Option<Box<dyn Receiver>>,
    link: Link,
    holding: Option<Arc<Holding>>,
}

/// Waits for the end of the leases.
async fn ended(holding: Option<&Holding>) -> Inflow {
    match holding {
        Some(holding) => holding.ended().await,
        None => pending().await,
    }
}

#[async_trait]
impl Receiver for Receiving {
    async fn receive(&mut self, max: usize) -> Result<Inflow> {
        loop {
            tokio::select! {
                biased;
                () = self.link.up() => {}
                inflow = ended(self.holding.as_deref()) => return Ok(inflow),
            }
            let Some(inner) = &mut self.inner else {
                return Err(Error::new(ErrorKind::Closed, "this subscription has ended"));
            };
            let inflow = tokio::select! {
                biased;
                () = self.link.down() => continue,
                inflow = inner.receive(max) => inflow,
            };
            if let (Some(holding), Ok(Inflow::Deliveries(deliveries))) = (&self.holding, &inflow) {
                holding.received(deliveries.iter().map(|delivery| delivery.receipt));
            }
            return inflow;
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
    holding: Option<Arc<Holding>>,
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
        let receipts: Vec<Receipt> = batch.iter().map(|(receipt, _)| *receipt).collect();
        let results = match self.inner().await {
            Some(inner) => self.link.alive(inner.settle(batch)).await,
            None => Vec::new(),
        };
        for (receipt, result) in receipts.iter().zip(&results) {
            let is_over = !matches!(result, Err(error) if error.is_retryable());
            if let Some(holding) = self.holding.as_ref().filter(|_| is_over) {
                holding.settled(*receipt);
            }
        }
        results
    }

    fn ack_at_once(&self, _receipt: Receipt) -> bool {
        // Whether the link is up is known only by waiting.
        false
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
        let asked_at = Instant::now();
        let results = match &self.inner {
            Some(inner) => self.link.alive(inner.extend(batch)).await,
            None => Vec::new(),
        };
        if let Some(holding) = &self.holding
            && results.iter().any(Result::is_ok)
        {
            holding.renewed(asked_at);
        }
        results
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
