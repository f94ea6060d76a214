//! The trait that every adapter implements.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::contract::admin::Admin;
use crate::contract::capabilities::Capabilities;
use crate::contract::dead_letter::DeadLetterStore;
use crate::contract::delivery::Inbound;
use crate::contract::message::Message;
use crate::contract::notice::Notices;
use crate::contract::position::Position;
use crate::contract::request::{Requests, ResponderSpec};
use crate::contract::subscription::SubscriptionSpec;
use crate::error::Result;

/// A transport: what stores and hands out bytes.
///
/// This is the contract between an adapter and the core of the bus. Users hold a
/// [`BusClient`](crate::BusClient), which adds everything that is the same on every transport: typed
/// events, retries, dead-lettering, lanes per key, leases, draining. An adapter therefore retries
/// nothing, decides nothing about attempts and never reads a payload.
///
/// There are no default methods: what is not written is not forgotten. A decorator carries
/// `#[deny(clippy::missing_trait_methods)]`.
///
/// # For every method
/// - An error says what was wrong and what would be right, and holds no payload and no secret.
/// - Dropping a future is safe.
/// - After [`close`](Self::close) the answer is `Closed`.
/// - It works from any tokio runtime, also a current-thread one, or is `Closed`; it never hangs.
#[async_trait]
pub trait Bus: Debug + Send + Sync + 'static {
    /// The transport's name, as in the scheme of its URL.
    fn name(&self) -> &'static str;

    /// What may differ; constant while connected.
    fn capabilities(&self) -> Capabilities;

    /// Stores messages; one result each, in input order, once the broker has confirmed.
    ///
    /// One bad message fails alone. Batches are queued towards the broker in the order in which their
    /// futures were first polled, and one batch is not interleaved with another: calls that are polled in
    /// order are stored in order, and many of them overlap.
    ///
    /// # Errors
    /// Each failed message says whether it was certainly not stored or, marked
    /// [`indeterminate`](crate::Error::indeterminate), may be stored. `TooLarge` and `Throttled` are never
    /// indeterminate.
    async fn publish(&self, batch: Vec<Arc<Message>>) -> Vec<Result<Published>>;

    /// Joins a subscription, creating it when it is new. When this returns, every message that is
    /// published afterwards is delivered.
    ///
    /// # Errors
    /// `InvalidConfig` for a lease below the minimum; `NotFound` for a start position whose log is gone;
    /// `Unsupported` for what the capabilities rule out.
    async fn subscribe(&self, spec: SubscriptionSpec) -> Result<Inbound>;

    /// Asks and waits for the first reply, until `deadline`.
    ///
    /// # Errors
    /// `Timeout`; `NoResponders` when nobody answers requests of this topic.
    async fn request(&self, message: Message, deadline: Instant) -> Result<Message>;

    /// Answers requests. When this returns, later requests reach it.
    async fn respond(&self, spec: ResponderSpec) -> Result<Requests>;

    /// The dead letters.
    fn dead_letters(&self) -> &dyn DeadLetterStore;

    /// Operations.
    fn admin(&self) -> &dyn Admin;

    /// Where this connection reports what happens to it.
    fn notices(&self) -> &Notices;

    /// Closes the connection: whatever was sent before is confirmed or failed, every subscription of it
    /// is left. Idempotent.
    ///
    /// # Errors
    /// `Timeout` when that was not finished by `deadline`; the connection is closed all the same.
    async fn close(&self, deadline: Instant) -> Result<()>;
}

/// A stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where it lies; of a duplicate, where the first one lies when the broker knows.
    pub position: Option<Position>,
    /// The broker's time of storing, when it tells.
    pub stored_at: Option<SystemTime>,
    /// It was not stored because the same dedup id was, within the window.
    pub duplicate: bool,
}
