//! Building a worker.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use crate::client::{BusClient, encode_reply};
use crate::contract::{Group, Order, Pattern, Scope, Start};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Raw, Request};
use crate::worker::bind::{self, Finish};
use crate::worker::breaker::Breaker;
use crate::worker::call::{Call, Handled, Outcome};
use crate::worker::context::Context;
use crate::worker::error::HandlerError;
use crate::worker::handler::Handler;
use crate::worker::input::{Batched, Single};
use crate::worker::outcome::{IntoOutcome, IntoOutcomes, IntoReply};
use crate::worker::report::Report;
use crate::worker::retry::Retry;
use crate::worker::routes::{Kind, Route};
use crate::worker::running::Running;
use crate::worker::service::Handlers;
use crate::worker::settings::{Expired, Unknown, WorkerSettings};
use crate::worker::start;

/// Handlers, the topics they listen to, and the rules for what becomes of the messages;
/// [`start`](Self::start)ed it joins the group of its name.
///
/// A delivery goes through it in one fixed order: check of the receipt (copies for others,
/// crashes), expiry, decoding, layers, time-out, handler, capture of panics, classification of the
/// failure, settling. The handler's outcome settles the message; a handler cannot forget to.
///
/// Mistakes in the options are reported by [`start`](Self::start), the first one, as `InvalidConfig`.
///
/// ```no_run
/// # use std::time::Duration;
/// # use bus_api::*;
/// # use bus_api::{Raw as OrderPlaced, Raw as OrderCancelled};
/// # #[derive(Clone)] struct App;
/// async fn placed(e: OrderPlaced, State(app): State<App>, ctx: Context) -> HandlerResult {
///     # let _ = (e, app, ctx);
///     Ok(())
/// }
/// async fn cancelled(e: Envelope<OrderCancelled>) {
///     tracing::info!(id = %e.metadata.id, "cancelled");
/// }
///
/// # async fn example(bus: BusClient, app: App, shutdown: impl Future<Output = ()>) -> Result<()> {
/// bus.worker("mail")
///     .state(app)
///     .pattern("orders.>")
///     .on(placed)
///     .on(cancelled)
///     .retry(Retry::exponential(Duration::from_millis(200), Duration::from_secs(30)).attempts(5))
///     .timeout(Duration::from_secs(10))
///     .concurrency(32)
///     .run_until(shutdown)
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a worker does nothing until it is started"]
pub struct Worker<S = ()> {
    state: Arc<S>,
    pub(crate) draft: Draft,
}

/// A worker before its options are checked.
pub(crate) struct Draft {
    pub(crate) bus: BusClient,
    pub(crate) scope: Result<Scope>,
    /// What the worker is called in logs.
    pub(crate) name: Box<str>,
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) routes: Vec<Route>,
    pub(crate) layers: Vec<Box<dyn FnOnce(Handlers) -> Handlers + Send>>,
    pub(crate) settings: WorkerSettings,
    /// The first mistake.
    pub(crate) mistake: Option<Error>,
}

impl BusClient {
    /// A worker of the group `group`: workers of one group and the same pattern share the messages,
    /// each other group gets every message.
    pub fn worker(&self, group: impl AsRef<str>) -> Worker {
        let group = group.as_ref();
        self.new_worker(group, Group::new(group).map(Scope::Group))
    }

    /// A worker without a group: it gets every message that is published while it runs, whoever
    /// else gets it, and leaves nothing behind. `name` is for logs.
    pub fn broadcast_worker(&self, name: impl AsRef<str>) -> Worker {
        self.new_worker(name.as_ref(), Ok(Scope::Broadcast))
    }

    fn new_worker(&self, name: &str, scope: Result<Scope>) -> Worker {
        Worker {
            state: Arc::new(()),
            draft: Draft {
                bus: self.clone(),
                scope,
                name: name.into(),
                patterns: Vec::new(),
                routes: Vec::new(),
                layers: Vec::new(),
                settings: WorkerSettings::default(),
                mistake: None,
            },
        }
    }
}

impl<S: Send + Sync + 'static> Worker<S> {
    /// Gives the handlers that are added **after** it a state, of which they take parts with
    /// [`State`](crate::State).
    pub fn state<T: Send + Sync + 'static>(self, state: T) -> Worker<T> {
        Worker {
            state: Arc::new(state),
            draft: self.draft,
        }
    }

    /// Adds a pattern of topics to listen to. Without any, the worker listens to the topics of the
    /// event types that its handlers take.
    ///
    /// Each pattern is a subscription of its own with a position of its own. Two patterns that can
    /// match one topic are `InvalidConfig`: its messages would come twice.
    pub fn pattern(mut self, pattern: impl AsRef<str>) -> Self {
        match Pattern::new(pattern) {
            Ok(pattern) => self.draft.patterns.push(pattern),
            Err(error) => self.mistake(error),
        }
        self
    }

    /// Adds a handler of one event at a time: it gets the messages of its event's types, by their
    /// names and aliases. A message that names no type goes to the only handler whose topics cover
    /// its topic, if there is exactly one.
    pub fn on<M, H>(mut self, handler: H) -> Self
    where
        H: Handler<S, M, Form = Single>,
        H::Output: IntoOutcome,
    {
        self.add(Kind::Event, handler, |output: H::Output, _: &Context| {
            output.into_outcome().map(|()| Handled(Outcome::Done))
        });
        self
    }

    /// Adds a handler of many events at once: up to `max`, fewer when the first of them has waited
    /// for `linger`.
    ///
    /// It takes a `Vec` of events or envelopes and returns one outcome for all or one for each.
    /// What it does not handle, other handlers of the worker get one by one; messages of one key
    /// stay in order.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use bus_api::{BusClient, Envelope, HandlerResult, Raw as OrderPlaced, State};
    /// # #[derive(Clone)] struct Db;
    /// # impl Db { async fn insert<T>(&self, _: Vec<T>) -> Vec<HandlerResult> { vec![] } }
    /// # async fn example(bus: BusClient, db: Db) -> bus_api::Result<()> {
    /// let running = bus.worker("archive")
    ///     .state(db)
    ///     .pattern("orders.>")
    ///     .on_batch(
    ///         500,
    ///         Duration::from_millis(50),
    ///         |es: Vec<Envelope<OrderPlaced>>, State(db): State<Db>| async move {
    ///             db.insert(es).await // one outcome each
    ///         },
    ///     )
    ///     .start()
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn on_batch<M, H>(mut self, max: usize, linger: Duration, handler: H) -> Self
    where
        H: Handler<S, M, Form = Batched>,
        H::Output: IntoOutcomes,
    {
        if max == 0 {
            self.mistake(invalid("a batch holds at least 1 message"));
        }
        self.add(
            Kind::Batch(max, linger),
            handler,
            |output: H::Output, _: &Context| output.into_outcomes(),
        );
        self
    }

    /// Adds the handler of all messages that no other one takes: of unknown types, and without a
    /// type that the topic tells.
    pub fn fallback<M, H>(self, handler: H) -> Self
    where
        H: Handler<S, M, Form = Single, Event = Raw>,
        H::Output: IntoOutcome,
    {
        self.on(handler)
    }

    /// Adds a responder: it answers the requests of its type.
    ///
    /// A failure that belongs to the domain is part of the reply. Every other failure (an error, a
    /// panic, the time-out) reaches the requester as `Remote` with kind and text. Requests are
    /// never retried and never dead-lettered; one whose deadline has passed is not begun. The
    /// deadline is [`Context::deadline`](crate::Context::deadline), and it limits the time-out.
    pub fn respond<M, H, V>(mut self, handler: H) -> Self
    where
        H: Handler<S, M, Form = Single>,
        H::Event: Request,
        H::Output: IntoReply<<H::Event as Request>::Reply, V>,
    {
        self.add(
            Kind::Request,
            handler,
            |output: H::Output, context: &Context| {
                let reply = output.into_reply()?;
                let core = context.bus().core();
                let message = encode_reply::<H::Event>(core, context.message(), &reply)?;
                Ok(Handled(Outcome::Reply(Box::new(message))))
            },
        );
        self
    }

    /// What becomes of messages whose handler fails. Default: [`Retry::default`].
    pub fn retry(mut self, retry: Retry) -> Self {
        self.draft.settings.retry = retry;
        self
    }

    /// How long a handler may run before it is dropped, which is a failure. Default: 30 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.draft.settings.timeout = timeout;
        self
    }

    /// How many handlers run at a time, all patterns together. Default: 64.
    pub fn concurrency(mut self, handlers: u32) -> Self {
        self.draft.settings.concurrency = handlers;
        self
    }

    /// How many deliveries may be outstanding for each pattern: running, and fetched ahead.
    /// Default: 256, or more where `concurrency` or a batch handler needs more.
    pub fn max_in_flight(mut self, deliveries: usize) -> Self {
        self.draft.settings.max_in_flight = Some(deliveries);
        self
    }

    /// How long the worker may be silent before what it holds counts as lost. It is renewed while a
    /// handler runs, however long. Default: 30 seconds.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.draft.settings.lease = lease;
        self
    }

    /// The order across the members of the group. Default: none; one member handles one key at a
    /// time in any case.
    pub fn order(mut self, order: Order) -> Self {
        self.draft.settings.order = order;
        self
    }

    /// Where the group starts when it is new; later its stored position wins. Default: the latest
    /// message, which is logged.
    pub fn start_at(mut self, start: Start) -> Self {
        self.draft.settings.start = Some(start);
        self
    }

    /// How long handlers may go on when the worker is told to stop. Default: 30 seconds.
    pub fn drain_within(mut self, within: Duration) -> Self {
        self.draft.settings.drain_within = within;
        self
    }

    /// What becomes of messages that no handler takes, when there is no
    /// [`fallback`](Self::fallback). Default: [`Unknown::Skip`].
    pub fn unknown(mut self, unknown: Unknown) -> Self {
        self.draft.settings.unknown = unknown;
        self
    }

    /// What becomes of messages that expired before a handler saw them. Default: [`Expired::Drop`].
    pub fn expired(mut self, expired: Expired) -> Self {
        self.draft.settings.expired = expired;
        self
    }

    /// How much later than its expiry a message is still handled, for clocks that differ. Default:
    /// 1 second.
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.draft.settings.clock_skew = skew;
        self
    }

    /// Stops fetching while something that the handlers need is away. Default: none.
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.draft.settings.breaker = Some(breaker);
        self
    }

    /// Wraps the handlers in a tower layer; one added later is outside of those before.
    ///
    /// The worker takes a delivery only when the service is ready: a limit of concurrency or rate
    /// holds messages back instead of failing them. A layer that fails a call fails the message:
    /// the retry policy decides.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Handlers> + Send + 'static,
        L::Service: Service<Call, Response = Handled, Error: Into<HandlerError>, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        let wrap = move |handlers: Handlers| handlers.layered(&layer);
        self.draft.layers.push(Box::new(wrap));
        self
    }

    /// Joins the group. When this returns, every message that is published afterwards is handled.
    ///
    /// # Errors
    /// `InvalidConfig` and `InvalidTopic` for mistakes in the options, `Closed` when the bus was
    /// closed, and what the transport answers.
    pub async fn start(self) -> Result<Running> {
        start::start(self.draft).await
    }

    /// Runs until `stop` resolves, then drains.
    ///
    /// # Errors
    /// As [`start`](Self::start); what ended a subscription of the worker, such as `NotFound` when
    /// it was deleted.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<Report> {
        let running = self.start().await?;
        tokio::select! {
            () = stop => running.stop(),
            () = running.ended() => {}
        }
        running.join().await
    }

    fn add<M, H, F>(&mut self, kind: Kind, handler: H, finish: F)
    where
        H: Handler<S, M>,
        F: Finish<H::Output>,
    {
        match bind::route(kind, handler, Arc::clone(&self.state), finish) {
            Ok(route) => self.draft.routes.push(route),
            Err(error) => self.mistake(error),
        }
    }

    fn mistake(&mut self, error: Error) {
        self.draft.mistake.get_or_insert(error);
    }
}

pub(crate) fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidConfig, text)
}

impl<S> fmt::Debug for Worker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("name", &self.draft.name)
            .field("patterns", &self.draft.patterns)
            .field("handlers", &self.draft.routes.len())
            .field("settings", &self.draft.settings)
            .finish_non_exhaustive()
    }
}
