//! What a handler knows about the message that it handles.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::BusClient;
use crate::clock;
use crate::contract::{Headers, Message, Metadata, Offset, Position};
use crate::error::Result;
use crate::event::Event;
use crate::telemetry;

/// What a handler knows about the message that it handles, and how it publishes because of it.
///
/// Cloning is cheap. In a batch handler it stands for the whole batch: [`message`](Self::message)
/// is the first one, and what is published through it names no cause.
///
/// ```no_run
/// # #[derive(Clone)] struct Mailer;
/// # use bus_api::Raw as OrderPlaced;
/// use bus_api::{Context, HandlerResult};
///
/// async fn placed(e: OrderPlaced, ctx: Context) -> HandlerResult {
///     if ctx.attempt() > 1 {
///         tracing::info!(attempt = ctx.attempt(), "again");
///     }
///     tokio::select! {
///         () = ctx.cancelled() => Err("shutting down")?, // the delivery is handed back
///         () = work(e) => {}
///     }
///     Ok(())
/// }
/// # async fn work(_: OrderPlaced) {}
/// ```
#[derive(Clone)]
pub struct Context(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    home: Arc<Home>,
    message: Arc<Message>,
    position: Position,
    attempt: u32,
    delivery: u32,
    deadline: Option<Instant>,
    batch: bool,
}

/// What all contexts of a worker share.
pub(crate) struct Home {
    pub(crate) bus: BusClient,
    /// The group, or what stands for none.
    pub(crate) group: Box<str>,
    pub(crate) cancelled: CancellationToken,
}

impl Context {
    pub(crate) fn of_delivery(
        home: Arc<Home>,
        message: Arc<Message>,
        position: Position,
        attempt: u32,
        delivery: u32,
    ) -> Self {
        Self(Arc::new(Inner {
            home,
            message,
            position,
            attempt,
            delivery,
            deadline: None,
            batch: false,
        }))
    }

    pub(crate) fn of_request(home: Arc<Home>, message: Arc<Message>, deadline: Instant) -> Self {
        let context = Self::of_delivery(home, message, nowhere("request"), 1, 1);
        context.edit(|inner| inner.deadline = Some(deadline))
    }

    /// The context of the handling of `event` outside of any worker, for tests that call a handler
    /// as the plain function that it is: attempt 1, never cancelled, group `-`.
    ///
    /// # Errors
    /// As [`BusClient::publish`]: `InvalidTopic` and `Encode`.
    pub fn for_test<E: Event>(bus: &BusClient, event: &E) -> Result<Self> {
        let core = bus.core();
        let message = event.to_message(core.codecs.default_codec().as_ref(), core.metadata())?;
        let home = Home {
            bus: bus.clone(),
            group: telemetry::BROADCAST_LABEL.into(),
            cancelled: CancellationToken::new(),
        };
        let position = nowhere("test");
        Ok(Self::of_delivery(
            Arc::new(home),
            Arc::new(message),
            position,
            1,
            1,
        ))
    }

    /// The same context with another attempt, for tests.
    #[must_use]
    pub fn with_attempt(self, attempt: u32) -> Self {
        self.edit(|inner| inner.attempt = attempt)
    }

    pub(crate) fn for_batch(&self) -> Self {
        self.clone().edit(|inner| inner.batch = true)
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The message as it was received, payload included.
    #[must_use]
    pub fn message(&self) -> &Arc<Message> {
        &self.0.message
    }

    /// The CloudEvents attributes.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.0.message.metadata
    }

    /// Application headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.0.message.headers
    }

    /// 1 plus recorded failures and crashes.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// Hand-overs as the broker counts them; informative only.
    #[must_use]
    pub fn delivery(&self) -> u32 {
        self.0.delivery
    }

    /// Where the message lies. A request lies nowhere: its position names no log that exists.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.0.position
    }

    /// When the requester gives up; `None` unless a request is handled.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// The group of the worker; `-` for a broadcast.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.0.home.group
    }

    /// The bus that the message came from. What is published through it instead of
    /// [`publish`](Self::publish) names no cause.
    #[must_use]
    pub fn bus(&self) -> &BusClient {
        &self.0.home.bus
    }

    /// Resolves at the drain deadline, shortly before the handler is dropped and its delivery
    /// handed back.
    ///
    /// Cancel safe.
    pub async fn cancelled(&self) {
        self.0.home.cancelled.cancelled().await;
    }

    /// Whether the drain deadline has passed.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.home.cancelled.is_cancelled()
    }

    /// Whether what is published names this message as its cause.
    pub(crate) fn is_cause(&self) -> bool {
        !self.0.batch
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("group", &self.group())
            .field("message", self.message())
            .field("attempt", &self.attempt())
            .field("delivery", &self.delivery())
            .finish_non_exhaustive()
    }
}

/// The position of what lies in no log.
fn nowhere(what: &'static str) -> Position {
    Position::new(what.into(), Offset(0, 0), clock::now())
}
