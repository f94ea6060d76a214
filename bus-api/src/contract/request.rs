//! Requests and replies between the core and an adapter.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::contract::message::Message;
use crate::contract::names::Group;
use crate::contract::pattern::Pattern;
use crate::error::Result;

/// What a responder asks of an adapter.
#[derive(Clone, Debug)]
pub struct ResponderSpec {
    /// Responders of one group compete.
    pub group: Group,
    /// Which request topics.
    pub pattern: Pattern,
    /// Most requests outstanding for this responder.
    pub max_in_flight: usize,
}

/// Where a reply goes: an address of the transport, made by the requester.
///
/// Whoever holds one may reply to it, so it has an unguessable part and is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ReplyTo(Box<str>);

impl ReplyTo {
    /// For adapters: the address as it was received; checked by the adapter against the namespace's
    /// form before anything is sent to it (Q6).
    #[must_use]
    pub fn new(address: impl Into<Box<str>>) -> Self {
        Self(address.into())
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyTo(..)")
    }
}

/// A request handed to a responder.
#[derive(Clone, Debug)]
pub struct IncomingRequest {
    /// The question.
    pub message: Arc<Message>,
    /// After this the requester has given up; it is handed over before, never later.
    pub deadline: Instant,
    /// Where the answer goes.
    pub reply_to: ReplyTo,
}

/// A responder of an adapter, split like a subscription.
pub struct Requests {
    /// The receiving half.
    pub receiver: Box<dyn RequestReceiver>,
    /// The replying half.
    pub replier: Arc<dyn Replier>,
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}

/// The receiving half of a responder.
#[async_trait]
pub trait RequestReceiver: Send + 'static {
    /// Waits for at least one request and returns up to `max` (never 0) of them.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// As [`Receiver::receive`](crate::Receiver::receive).
    async fn receive(&mut self, max: usize) -> Result<Vec<IncomingRequest>>;
}

/// The replying half of a responder.
#[async_trait]
pub trait Replier: Send + Sync + 'static {
    /// Sends replies; one result each, in input order. A requester that is gone is no error.
    ///
    /// # Errors
    /// `InvalidArgument` for an address outside the namespace's form: refused, counted, not sent.
    async fn reply(&self, batch: Vec<(ReplyTo, Message)>) -> Vec<Result<()>>;

    /// Stops receiving requests; those already received can still be answered. Idempotent.
    ///
    /// # Errors
    /// `Timeout` when the broker did not confirm until `deadline`.
    async fn leave(&self, deadline: Instant) -> Result<()>;
}
