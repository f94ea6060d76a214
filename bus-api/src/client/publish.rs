//! Publishing one message.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::Instant;

use super::check;
use super::core::Core;
use super::tries::Verdict;
use crate::contract::{Message, MessageId, Position, Published, TraceContext};
use crate::error::{Error, Result};
use crate::event::Event;

/// A message on its way: options first, then `.await`.
///
/// Made by [`BusClient::publish`](crate::BusClient::publish) and
/// [`Publisher::send`](crate::Publisher::send). The event was encoded when it was made, so that it borrows
/// nothing; a problem of encoding or of an option is the result of awaiting. Nothing is sent before it is
/// awaited.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example(bus: bus_api::BusClient, event: bus_api::Raw) -> bus_api::Result<()> {
/// bus.publish(&event)
///     .key("order-7")
///     .header("tenant", "a")
///     .expires_in(Duration::from_secs(9))
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is published until it is awaited"]
#[derive(Debug)]
pub struct Publish<V = Direct> {
    pub(super) core: Arc<Core>,
    /// Behind a pointer from the start, and nobody else's: what is handed on is small.
    pub(super) draft: Result<Arc<Message>>,
    pub(super) via: V,
}

/// Awaiting a [`Publish`] waits for the broker's confirmation.
#[derive(Debug)]
pub struct Direct;

/// The broker's confirmation of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The id of the message.
    pub id: MessageId,
    /// Where it lies; of a duplicate, where the first one lies when the broker knows.
    pub position: Option<Position>,
    /// The broker's time of storing, when it tells.
    pub stored_at: Option<SystemTime>,
    /// It was not stored because the same dedup id was, within the window. Also set when the bus itself
    /// tried again and the first try turned out to be stored.
    pub duplicate: bool,
}

impl Confirmed {
    pub(super) fn new(id: MessageId, published: Published) -> Self {
        Self {
            id,
            position: published.position,
            stored_at: published.stored_at,
            duplicate: published.duplicate,
        }
    }
}

impl<V> Publish<V> {
    pub(crate) fn new<E: Event>(core: &Arc<Core>, event: &E, via: V) -> Self {
        let codec = core.codecs.default_codec();
        Self {
            draft: event
                .to_message(codec.as_ref(), core.metadata())
                .map(Arc::new),
            core: Arc::clone(core),
            via,
        }
    }

    pub(crate) fn edit(mut self, change: impl FnOnce(&mut Message)) -> Self {
        if let Some(message) = self.message_mut() {
            change(message);
        }
        self
    }

    /// Sets an application header. A name that breaks the grammar or is reserved is `InvalidArgument`
    /// when this is awaited.
    pub fn header(mut self, name: impl AsRef<str>, value: impl Into<Box<str>>) -> Self {
        if let Some(message) = self.message_mut()
            && let Err(error) = message.headers.insert(name, value)
        {
            self.draft = Err(error);
        }
        self
    }

    /// Orders the message among others of its topic and key; replaces the event's own key.
    pub fn key(self, key: impl Into<Bytes>) -> Self {
        self.edit(|message| message.key = Some(key.into()))
    }

    /// Replaces the new id; an idempotent consumer relies on it.
    pub fn id(self, id: MessageId) -> Self {
        self.edit(|message| message.metadata.id = id)
    }

    /// A second message of this topic and dedup id within the window is not stored, and this one may be
    /// tried again even when a try may have stored it. `Unsupported` where the transport has no dedup.
    pub fn dedup_id(self, dedup_id: impl Into<Box<str>>) -> Self {
        self.edit(|message| message.dedup_id = Some(dedup_id.into()))
    }

    /// After this long from the broker's storing it, no handler sees it any more; whole milliseconds.
    pub fn expires_in(self, expires_in: Duration) -> Self {
        let millis = u64::try_from(expires_in.as_millis()).unwrap_or(u64::MAX);
        self.edit(|message| message.metadata.expires_in = Some(Duration::from_millis(millis)))
    }

    /// CloudEvents `subject`.
    pub fn subject(self, subject: impl Into<Box<str>>) -> Self {
        self.edit(|message| message.metadata.subject = Some(subject.into()))
    }

    /// CloudEvents `dataschema`.
    pub fn dataschema(self, dataschema: impl Into<Box<str>>) -> Self {
        self.edit(|message| message.metadata.dataschema = Some(dataschema.into()))
    }

    /// CloudEvents `time`, instead of now.
    pub fn time(self, time: SystemTime) -> Self {
        self.edit(|message| message.metadata.time = super::moment::whole_micros(time))
    }

    /// The id that all messages of one business transaction share.
    pub fn correlation_id(self, id: impl Into<Box<str>>) -> Self {
        self.edit(|message| message.metadata.correlation_id = Some(id.into()))
    }

    /// The id of the message whose handling publishes this one. Handlers publish through their context,
    /// which sets it.
    pub fn causation_id(self, id: impl Into<Box<str>>) -> Self {
        self.edit(|message| message.metadata.causation_id = Some(id.into()))
    }

    /// The trace context, instead of the current one of the [`TraceHook`](crate::telemetry::TraceHook).
    pub fn trace(self, trace: TraceContext) -> Self {
        self.edit(|message| message.metadata.trace = Some(trace))
    }

    /// The same publish, awaited in another way.
    pub(crate) fn via<W>(self, via: W) -> Publish<W> {
        Publish {
            core: self.core,
            draft: self.draft,
            via,
        }
    }

    pub(crate) fn via_ref(&self) -> &V {
        &self.via
    }

    /// Makes `error` the result of awaiting it, unless there is an earlier one.
    pub(crate) fn refuse(mut self, error: Error) -> Self {
        self.draft = self.draft.and(Err(error));
        self
    }

    /// The message as it stands, for what derives ids from it.
    pub(crate) fn message_mut(&mut self) -> Option<&mut Message> {
        Arc::get_mut(self.draft.as_mut().ok()?)
    }

    /// The checked message.
    pub(super) fn checked(self) -> Result<(Arc<Core>, Arc<Message>, V)> {
        let message = self.draft?;
        self.core.check_open()?;
        check::check(&message, &self.core.capabilities)?;
        Ok((self.core, message, self.via))
    }
}

impl IntoFuture for Publish<Direct> {
    type Output = Result<Confirmed>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Waits for room in the connection's window, sends, and waits for the broker's confirmation; what
    /// was certainly not stored, or has a dedup id, is tried again for up to `publish_timeout`.
    ///
    /// # Errors
    /// [`is_indeterminate`](crate::Error::is_indeterminate) tells whether the message may nevertheless be
    /// stored.
    ///
    /// # Cancel safety
    /// Dropped before it was sent, nothing is published; later, it may be. No other message is touched.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (core, message, Direct) = self.checked()?;
            publish(&core, message).await
        })
    }
}

async fn publish(core: &Core, message: Arc<Message>) -> Result<Confirmed> {
    let _room = core.room(&message).await?;
    let mut now = Instant::now();
    let mut tries = core.tries(now).of(&message);
    loop {
        let results = core
            .send(vec![Arc::clone(&message)], now, tries.deadline())
            .await;
        let Some(result) = results.into_iter().next() else {
            // `send` answers for every message.
            return Err(super::life::closed());
        };
        let verdict = result.map_err(|error| tries.judge(error));
        match verdict {
            Ok(published) => {
                core.meters.finished(message.size(), Ok(&published));
                return Ok(Confirmed::new(message.metadata.id.clone(), published));
            }
            Err(Verdict::Again(delay, _)) => {
                core.meters.retries.increment(1);
                tokio::time::sleep(delay).await;
                now = Instant::now();
            }
            Err(Verdict::Final(error)) => {
                core.meters.finished(message.size(), Err(&error));
                return Err(error);
            }
        }
    }
}
