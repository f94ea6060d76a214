//! Asking and waiting for the answer.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use super::core::Core;
use super::publish::Publish;
use super::reply;
use crate::contract::{Message, MessageId, TraceContext};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Request;
use crate::telemetry;

/// How long a request waits unless told otherwise.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// A question on its way: options first, then `.await` for the typed reply.
///
/// Made by [`BusClient::request`](crate::BusClient::request). The question was encoded when it was made;
/// nothing is sent before it is awaited. A request is never tried again, stored or dead-lettered.
#[must_use = "nothing is asked until it is awaited"]
pub struct Ask<R> {
    question: Publish<Asking>,
    timeout: Duration,
    reply: PhantomData<fn() -> R>,
}

/// The way of a request.
#[derive(Debug)]
pub(crate) struct Asking;

impl<R: Request> Ask<R> {
    pub(super) fn new(core: &Arc<Core>, question: &R) -> Self {
        Self {
            question: Publish::new(core, question, Asking),
            timeout: DEFAULT_TIMEOUT,
            reply: PhantomData,
        }
    }

    pub(crate) fn edit(self, change: impl FnOnce(Publish<Asking>) -> Publish<Asking>) -> Self {
        Self {
            question: change(self.question),
            ..self
        }
    }

    /// How long to wait for the reply; 5 seconds otherwise. Responders see the deadline.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets an application header. A name that breaks the grammar or is reserved is `InvalidArgument`
    /// when this is awaited.
    pub fn header(self, name: impl AsRef<str>, value: impl Into<Box<str>>) -> Self {
        self.edit(|question| question.header(name, value))
    }

    /// Replaces the question's own key.
    pub fn key(self, key: impl Into<Bytes>) -> Self {
        self.edit(|question| question.key(key))
    }

    /// Replaces the new id.
    pub fn id(self, id: MessageId) -> Self {
        self.edit(|question| question.id(id))
    }

    /// The id that all messages of one business transaction share; without it the
    /// reply carries the id of the request.
    pub fn correlation_id(self, id: impl Into<Box<str>>) -> Self {
        self.edit(|question| question.correlation_id(id))
    }

    /// The id of the message whose handling asks.
    pub fn causation_id(self, id: impl Into<Box<str>>) -> Self {
        self.edit(|question| question.causation_id(id))
    }

    /// The trace context, instead of the current one.
    pub fn trace(self, trace: TraceContext) -> Self {
        self.edit(|question| question.trace(trace))
    }
}

impl<R: Request> IntoFuture for Ask<R> {
    type Output = Result<R::Reply>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Asks and waits for the first reply.
    ///
    /// # Errors
    /// `Timeout`; `NoResponders`, at once where the capabilities say so; `Remote` when the responder
    /// failed, with its kind and text; `Decode` for a reply of another type.
    ///
    /// # Cancel safety
    /// Dropped, a reply that still comes is dropped, too.
    fn into_future(self) -> Self::IntoFuture {
        let timeout = self.timeout;
        Box::pin(async move {
            let (core, question, Asking) = self.question.checked()?;
            let started = Instant::now();
            let outcome = ask(&core, Arc::unwrap_or_clone(question), timeout).await;
            core.meters.request_seconds.record(started.elapsed());
            let outcome = outcome.and_then(|reply| reply::decode::<R>(&core, &reply));
            core.meters.requested(&outcome);
            outcome
        })
    }
}

async fn ask(core: &Core, question: Message, timeout: Duration) -> Result<Message> {
    let deadline = Instant::now().checked_add(timeout).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidArgument,
            "the timeout of a request is too long",
        )
    })?;
    let topic = question.topic.clone();
    let span = telemetry::request_span(core.transport(), &question);
    let call = core
        .bus
        .request(question, deadline)
        .instrument(span.clone());
    // The adapter ends it at the deadline; this is for one that does not.
    let outcome = timeout_at(deadline, call).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, "nobody replied in time")
            .transport(core.transport())
            .with("topic", topic))
    });
    if let Err(error) = &outcome {
        telemetry::failed(&span, error.kind().as_str());
    }
    outcome
}

impl<R> fmt::Debug for Ask<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask")
            .field("question", &self.question)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
