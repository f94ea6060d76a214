//! Requests through a link.

use std::sync::Arc;

use async_trait::async_trait;
use bus_api::{
    Error, ErrorKind, IncomingRequest, Message, Replier, ReplyTo, RequestReceiver, Requests, Result,
};
use tokio::time::Instant;

use super::link::Link;

pub(super) fn wrap(requests: Requests, link: &Link) -> Requests {
    Requests {
        receiver: Box::new(Receiving {
            inner: Some(requests.receiver),
            link: link.clone(),
        }),
        replier: Arc::new(Replying {
            inner: Some(requests.replier),
            link: link.clone(),
        }),
    }
}

struct Receiving {
    /// `None` only while it is dropped.
    inner: Option<Box<dyn RequestReceiver>>,
    link: Link,
}

#[async_trait]
impl RequestReceiver for Receiving {
    async fn receive(&mut self, max: usize) -> Result<Vec<IncomingRequest>> {
        let Some(inner) = &mut self.inner else {
            return Err(Error::new(ErrorKind::Closed, "this responder has ended"));
        };
        loop {
            self.link.up().await;
            tokio::select! {
                biased;
                () = self.link.down() => {}
                requests = inner.receive(max) => return requests,
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

struct Replying {
    /// `None` only while it is dropped.
    inner: Option<Arc<dyn Replier>>,
    link: Link,
}

#[async_trait]
impl Replier for Replying {
    async fn reply(&self, batch: Vec<(ReplyTo, Message)>) -> Vec<Result<()>> {
        if let Err(error) = self.link.check().await {
            return vec![Err(error); batch.len()];
        }
        match &self.inner {
            Some(inner) => self.link.alive(inner.reply(batch)).await,
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

impl Drop for Replying {
    fn drop(&mut self) {
        if self.link.is_dead() {
            std::mem::forget(self.inner.take());
        }
    }
}
