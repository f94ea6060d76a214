//! The handle that users hold.

mod backoff;
mod batch;
mod check;
mod close;
mod connector;
mod core;
mod deadline;
mod driver;
mod engine;
mod in_flight;
mod lane;
mod life;
mod moment;
mod publish;
mod publisher;
mod reply;
mod request;
mod subscriptions;
mod tries;
mod window;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::Instant;

pub(crate) use self::backoff::Backoff;
pub use self::batch::PublishBatch;
pub(crate) use self::batch::publish_all;
pub use self::connector::Connector;
pub(crate) use self::core::Core;
pub(crate) use self::in_flight::InFlight as InFlightOfConnection;
pub(crate) use self::life::{Participant, Stage};
pub use self::publish::{Confirmed, Direct, Publish};
pub use self::publisher::{Ordered, PublishConfirmation, Publisher, Sending};
pub use self::reply::RemoteFailure;
pub(crate) use self::reply::{encode as encode_reply, encode_failure as encode_reply_failure};
pub use self::request::Ask;
pub use self::subscriptions::Subscriptions;
use crate::connect::Settings;
use crate::contract::{Bus, Capabilities, Health, HealthStatus, Notice, Topic, TopicInfo};
use crate::error::Result;
use crate::event::{Codecs, Event, Request};

/// A connection to a bus: cheap to clone, the same on every transport.
///
/// It publishes ([`publish`](Self::publish), [`publisher`](Self::publisher),
/// [`publish_batch`](Self::publish_batch)), asks ([`request`](Self::request)) and operates
/// ([`dead_letters`](Self::dead_letters), [`subscriptions`](Self::subscriptions), [`health`](Self::health)).
///
/// Every clone is the same connection; [`close`](Self::close) closes it for all of them. A connection
/// whose clones are all dropped is given up without draining.
#[derive(Clone, Debug)]
pub struct BusClient(Arc<Core>);

/// How long [`BusClient::close`] waits at most.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

impl BusClient {
    /// A client over an adapter, with the default codecs; usually a [`Connector`] makes it.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, settings: Settings) -> Self {
        Self::with(Core::new(bus, settings, Codecs::default(), None))
    }

    fn with(core: Core) -> Self {
        Self(Arc::new(core))
    }

    /// The adapter below, for its native parts and for tests of adapters.
    #[must_use]
    pub fn adapter(&self) -> &Arc<dyn Bus> {
        &self.0.bus
    }

    /// What may differ from other transports.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    /// The settings that are the same on every transport.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The codecs that this connection writes and reads with.
    #[must_use]
    pub fn codecs(&self) -> &Codecs {
        &self.0.codecs
    }

    /// Publishes `event`: options first, then `.await` for the broker's confirmation.
    ///
    /// The event is encoded here; what is returned borrows nothing and can be awaited in another task.
    /// For a message without a Rust type publish a [`Raw`](crate::Raw). Publishes that run side by side
    /// have no order among themselves; a [`publisher`](Self::publisher) has one.
    ///
    /// ```no_run
    /// # async fn example(bus: bus_api::BusClient, placed: bus_api::Raw) -> bus_api::Result<()> {
    /// let confirmed = bus.publish(&placed).header("tenant", "a").await?;
    /// println!("{} lies at {:?}", confirmed.id, confirmed.position);
    /// # Ok(()) }
    /// ```
    pub fn publish<E: Event>(&self, event: &E) -> Publish {
        Publish::new(&self.0, event, Direct)
    }

    /// Publishes `events` in order and waits for all: one result per event, in input order.
    ///
    /// One bad event fails alone.
    ///
    /// ```no_run
    /// # async fn example(bus: bus_api::BusClient, events: Vec<bus_api::Raw>) {
    /// for (event, result) in events.iter().zip(bus.publish_batch(&events).await) {
    ///     if let Err(error) = result {
    ///         println!("{}: {error}", event.topic);
    ///     }
    /// }
    /// # }
    /// ```
    pub fn publish_batch<'a, E: Event>(
        &self,
        events: impl IntoIterator<Item = &'a E>,
    ) -> PublishBatch {
        PublishBatch::new(&self.0, events)
    }

    /// An ordered window: publishes without waiting for each confirmation, in order.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher::new(Arc::clone(&self.0))
    }

    /// Asks `question` and waits for the typed reply.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example<Q: bus_api::Request<Reply = u64>>(bus: bus_api::BusClient, query: Q)
    /// # -> bus_api::Result<()> {
    /// let cents = bus.request(&query).timeout(Duration::from_secs(1)).await?;
    /// println!("{cents} cents");
    /// # Ok(()) }
    /// ```
    pub fn request<R: Request>(&self, question: &R) -> Ask<R> {
        Ask::new(&self.0, question)
    }

    /// The durable subscriptions: to list, move and delete them.
    #[must_use]
    pub fn subscriptions(&self) -> Subscriptions {
        Subscriptions::new(Arc::clone(&self.0))
    }

    /// The topics that the namespace knows, in order of their names.
    ///
    /// # Errors
    /// What the broker says; `Closed`.
    pub async fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.0.check_open()?;
        self.0.bus.admin().topics().await
    }

    /// Makes a topic known before its first message, such as the log of a foreign producer. Publishing
    /// needs no such call.
    ///
    /// # Errors
    /// What the broker says; `Closed`.
    pub async fn add_topic(&self, topic: &Topic) -> Result<()> {
        self.0.check_open()?;
        self.0.bus.admin().add_topic(topic).await
    }

    /// Checks the transport and says what was verified, together with this client's own state (details
    /// `client.outstanding_messages`, `client.outstanding_bytes`, `client.participants`).
    ///
    /// Never fails: what is wrong is in the answer.
    pub async fn health(&self) -> Health {
        let core = &self.0;
        let mut health = core.bus.admin().health().await;
        let (messages, bytes) = core.window.used();
        if core.life.stage() != Stage::Open {
            health.status = HealthStatus::Down;
            health.writable = false;
            health.problems.push("this client was closed".into());
        } else if messages >= core.settings.window || bytes >= core.settings.window_bytes {
            health.status = health.status.max(HealthStatus::Degraded);
            health.problems.push(
                "the window of outstanding publishes is full: the broker confirms slower than this \
                 client publishes"
                    .into(),
            );
        }
        let participants = core.life.participants();
        health.details.extend([
            ("client.outstanding_messages", messages.to_string()),
            ("client.outstanding_bytes", bytes.to_string()),
            ("client.participants", participants.to_string()),
        ]);
        health
    }

    /// Deliveries that workers and streams of this connection hold: fetched, and settling not requested yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.count()
    }

    /// Waits until nothing is [in flight](Self::in_flight). What is published meanwhile can come at any time.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn idle(&self) {
        self.0.in_flight.none().await;
    }

    /// Listens to what happens to the connection from now on, such as a lost log. `health` shows the last
    /// ones as text.
    #[must_use]
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.0.bus.notices().listen()
    }

    /// Drains and closes within 20 seconds; see [`close_within`](Self::close_within).
    ///
    /// # Errors
    /// As [`close_within`](Self::close_within).
    pub async fn close(&self) -> Result<()> {
        self.close_within(CLOSE_TIMEOUT).await
    }

    /// Drains and closes the connection for all clones: workers and streams stop fetching, finish and hand
    /// back; what was published gets its outcome; then the adapter is closed. Afterwards every call
    /// returns `Closed`.
    ///
    /// Idempotent.
    ///
    /// # Errors
    /// `Timeout` when that was not finished in time; the connection is closed all the same.
    ///
    /// # Cancel safety
    /// Dropped, the connection is draining or closed; call it again to finish.
    pub async fn close_within(&self, timeout: Duration) -> Result<()> {
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + CLOSE_TIMEOUT);
        close::close(&self.0, deadline).await
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0
    }
}
