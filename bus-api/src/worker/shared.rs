//! What the tasks of a worker share.

use std::any::Any;
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower_service::Service;
use tracing::{Instrument, Span};

use crate::contract::{Failure, Message};
use crate::telemetry;
use crate::worker::breaker::{BreakerState, Gate};
use crate::worker::call::{Call, Handled};
use crate::worker::context::Home;
use crate::worker::error::{HandlerError, HandlerResult};
use crate::worker::meters::Meters;
use crate::worker::report::Counts;
use crate::worker::routes::Routes;
use crate::worker::service::Handlers;
use crate::worker::settings::WorkerSettings;

/// What the tasks of a worker share.
pub(crate) struct Shared {
    pub(crate) home: Arc<Home>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) settings: WorkerSettings,
    pub(crate) counts: Counts,
    pub(crate) meters: Meters,
    /// The worker takes no more deliveries.
    pub(crate) stop: CancellationToken,
    /// Handlers that still run are dropped.
    pub(crate) abort: CancellationToken,
    breaker: Option<Mutex<BreakerState>>,
    pub(crate) breaker_changed: Notify,
    /// Unknown types that were logged.
    logged: Mutex<HashSet<Box<str>>>,
}

/// Unknown types that are remembered as logged; beyond it none is logged any more.
const MOST_LOGGED: usize = 1024;

impl Shared {
    pub(crate) fn new(home: Home, routes: Arc<Routes>, settings: WorkerSettings) -> Self {
        let transport = home.bus.core().transport();
        Self {
            meters: Meters::new(transport, &home.group, routes.type_names()),
            breaker: settings
                .breaker
                .clone()
                .map(|b| Mutex::new(BreakerState::new(b))),
            home: Arc::new(home),
            routes,
            settings,
            counts: Counts::default(),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
            breaker_changed: Notify::new(),
            logged: Mutex::default(),
        }
    }

    /// Runs a handler behind its layers, inside `span`. `None`: it was dropped at the drain deadline.
    pub(crate) async fn run(
        &self,
        service: &mut Handlers,
        call: Call,
        span: Span,
    ) -> Option<HandlerResult<Handled>> {
        let run = AssertUnwindSafe(async { service.call(call).await }).catch_unwind();
        tokio::select! {
            biased;
            result = run.instrument(span.clone()) => {
                let result = result.unwrap_or_else(|panic| Err(panicked(&*panic)));
                if let Err(error) = &result {
                    telemetry::failed(&span, error.kind());
                }
                Some(result)
            }
            () = self.abort.cancelled() => None,
        }
    }

    /// The span around the handling of `message`, a child of the context that the message carries.
    pub(crate) fn span(&self, message: &Message, attempt: u32) -> Span {
        let core = self.home.bus.core();
        let span = telemetry::process_span(core.transport(), &self.home.group, message, attempt);
        if let (Some(hook), Some(trace)) = (&core.trace_hook, &message.metadata.trace) {
            hook.follow(&span, trace);
        }
        span
    }

    /// Whether a delivery may be taken now.
    pub(crate) fn gate(&self) -> Gate {
        self.breaker()
            .map_or(Gate::Open, |state| state.gate(Instant::now()))
    }

    /// Lets a delivery through, if the breaker does; whether it is the probe.
    pub(crate) fn pass(&self) -> Option<bool> {
        let Some(mut state) = self.breaker() else {
            return Some(false);
        };
        match state.gate(Instant::now()) {
            Gate::Open => Some(false),
            Gate::Probe => {
                state.probing();
                Some(true)
            }
            Gate::Until(_) | Gate::Wait => None,
        }
    }

    /// A run of a handler ended. Returns how long to defer its messages instead of counting the
    /// failure.
    pub(crate) fn ended(&self, probe: bool, unavailable: bool) -> Option<Duration> {
        let mut state = self.breaker()?;
        let was_open = state.is_open();
        let defer = state.ended(probe, unavailable, Instant::now());
        let is_open = state.is_open();
        drop(state);
        if was_open != is_open {
            self.meters
                .breaker_open
                .set(if is_open { 1.0 } else { 0.0 });
            let group = &*self.home.group;
            if is_open {
                tracing::warn!(
                    target: "bus", group,
                    "something that the handlers need is away: fetching pauses"
                );
            } else {
                tracing::info!(
                    target: "bus", group,
                    "what the handlers need is back: fetching goes on"
                );
            }
        }
        if probe || was_open != is_open {
            self.breaker_changed.notify_one();
        }
        defer
    }

    /// What was to be the probe did not reach a handler.
    pub(crate) fn inconclusive(&self, probe: bool) {
        if let Some(mut state) = self.breaker().filter(|_| probe) {
            state.inconclusive(Instant::now());
            drop(state);
            self.breaker_changed.notify_one();
        }
    }

    fn breaker(&self) -> Option<std::sync::MutexGuard<'_, BreakerState>> {
        let state = self.breaker.as_ref()?;
        Some(state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a message of this unknown type is the first.
    pub(crate) fn first_of_type(&self, name: &str) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        logged.len() < MOST_LOGGED && !logged.contains(name) && logged.insert(name.into())
    }
}

fn panicked(panic: &(dyn Any + Send)) -> HandlerError {
    let text = if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "the handler panicked"
    };
    HandlerError::new(text).with_kind(Failure::PANIC)
}
