//! What all handles of one connection share.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::Instrument;

use super::deadline::by;
use super::in_flight::InFlight;
use super::life::{Life, Participant, closed};
use super::moment::Moment;
use super::tries::Tries;
use super::window::{Room, Window};
use crate::connect::Settings;
use crate::contract::{Bus, Capabilities, Message, Metadata, Published};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Codecs;
use crate::ids;
use crate::telemetry::{self, PublishMeters, TraceHook};
use crate::worker::WorkerOptions;

/// What all handles of one connection share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) capabilities: Capabilities,
    pub(crate) settings: Settings,
    pub(crate) codecs: Codecs,
    pub(crate) trace_hook: Option<Arc<dyn TraceHook>>,
    pub(crate) meters: PublishMeters,
    pub(crate) life: Life,
    pub(crate) window: Arc<Window>,
    pub(crate) in_flight: Arc<InFlight>,
    /// By the name of the worker.
    pub(crate) worker_options: Arc<BTreeMap<String, WorkerOptions>>,
}

impl Core {
    pub(crate) fn new(
        bus: Arc<dyn Bus>,
        settings: Settings,
        codecs: Codecs,
        trace_hook: Option<Arc<dyn TraceHook>>,
    ) -> Self {
        Self {
            capabilities: bus.capabilities(),
            meters: PublishMeters::new(bus.name()),
            life: Life::new(),
            window: Arc::new(Window::new(settings.window, settings.window_bytes)),
            bus,
            settings,
            codecs,
            trace_hook,
            in_flight: Arc::default(),
            worker_options: Arc::default(),
        }
    }

    /// The name of the transport.
    pub(crate) fn transport(&self) -> &'static str {
        self.bus.name()
    }

    /// Registers a worker, a stream or a responder: `close` tells it to drain and waits for it.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) fn enter(&self) -> Result<Participant> {
        self.life.enter()
    }

    /// # Errors
    /// `Closed` after `close`. While participants drain, their handlers can still publish.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.life.is_closed() {
            return Err(closed());
        }
        Ok(())
    }

    /// Metadata of a message made now: a new id, the configured source, the current trace context.
    pub(crate) fn metadata(&self) -> Metadata {
        self.metadata_at(Moment::now())
    }

    /// The same for one of many messages that are made at once.
    pub(crate) fn metadata_at(&self, moment: Moment) -> Metadata {
        let id = ids::next_in(moment.millis);
        let mut metadata = Metadata::new(id, Arc::clone(&self.settings.source), moment.time);
        metadata.trace = self.trace_hook.as_ref().and_then(|hook| hook.current());
        metadata
    }

    /// Waits for room in the window of this connection.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) async fn room(&self, message: &Message) -> Result<Room> {
        self.check_open()?;
        // Whoever waits already has what is free: nobody is overtaken.
        if let Some(room) = self.window.try_room(message.size()) {
            return Ok(room);
        }
        let room = self.window.room(message.size()).await.ok_or_else(closed)?;
        // It may have been closed while this waited.
        self.check_open()?;
        Ok(room)
    }

    /// Room in the window of this connection, now.
    ///
    /// # Errors
    /// `Closed`, `Throttled`.
    pub(crate) fn try_room(&self, message: &Message) -> Result<Room> {
        self.check_open()?;
        self.window.try_room(message.size()).ok_or_else(|| {
            Error::new(
                ErrorKind::Throttled,
                "as many publishes are outstanding as `window` and `window_bytes` allow",
            )
        })
    }

    /// The account of tries of messages that are about to be sent, at `now`.
    pub(crate) fn tries(&self, now: Instant) -> Tries {
        let dedup_window = self
            .capabilities
            .dedup
            .then_some(self.settings.dedup_window);
        Tries::new(now, self.settings.publish_timeout, dedup_window)
    }

    /// Hands one batch to the adapter now, at `started`: one result each, in order, at the latest at
    /// `deadline`.
    pub(crate) async fn send(
        &self,
        batch: Vec<Arc<Message>>,
        started: Instant,
        deadline: Instant,
    ) -> Vec<Result<Published>> {
        let expected = batch.len();
        let span = telemetry::publish_span(self.transport(), &batch);
        let mut call = self.bus.publish(batch);
        if !span.is_disabled() {
            call = Box::pin(call.instrument(span.clone()));
        }
        let mut results = match by(deadline, call).await {
            Some(results) => results,
            None => {
                let error = Error::new(
                    ErrorKind::Timeout,
                    "the broker did not confirm within `publish_timeout`",
                )
                .transport(self.transport())
                .indeterminate();
                vec![Err(error); expected]
            }
        };
        self.meters.seconds.record(started.elapsed());
        if results.len() != expected {
            let error = Error::new(
                ErrorKind::Internal,
                "the adapter did not answer for every message of a batch",
            )
            .transport(self.transport())
            .indeterminate();
            results.resize(expected, Err(error));
        }
        if let Some(error) = results.iter().find_map(|result| result.as_ref().err()) {
            telemetry::failed(&span, error.kind().as_str());
        }
        results
    }
}
