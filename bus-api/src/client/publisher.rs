//! The ordered window.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::core::Core;
use super::driver::{self, Item};
use super::publish::{Confirmed, Publish};
use super::window::Room;
use crate::contract::Message;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;

/// Publishes many messages in order without waiting for each: an ordered window.
///
/// [`send`](Self::send) waits only for room (P8) and fixes the order; what it returns resolves when the
/// broker has confirmed. Messages of one topic and key are stored in the order in which they were sent:
/// one that failed is sent again only while nothing later of its topic and key may be stored, otherwise its
/// confirmation is the error (P7).
///
/// Clones share one order. One task per publisher talks to the adapter; it batches what is waiting. It
/// runs on the runtime in which the publisher was first used; when that is gone, sending is `Closed`. What
/// was sent is still published when every clone has been dropped.
///
/// ```no_run
/// # async fn example(bus: bus_api::BusClient, events: Vec<bus_api::Raw>) -> bus_api::Result<()> {
/// let publisher = bus.publisher();
/// let mut confirmations = Vec::new();
/// for event in &events {
///     confirmations.push(publisher.send(event).await?);
/// }
/// publisher.flush().await?;
/// for confirmation in confirmations {
///     confirmation.await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Publisher(Arc<Line>);

/// Awaiting a [`Publish`] waits for room only; the confirmation is a future of its own.
#[derive(Clone, Debug)]
pub struct Ordered(Arc<Line>);

/// What clones of a publisher share.
#[derive(Debug)]
struct Line {
    core: Arc<Core>,
    items: OnceLock<mpsc::UnboundedSender<Item>>,
    unseen: Arc<Unseen>,
}

/// The first error that no one looked at: `flush` reports it.
#[derive(Debug, Default)]
pub(super) struct Unseen(Mutex<Option<Error>>);

impl Unseen {
    pub(super) fn note(&self, error: Error) {
        tracing::warn!(%error, "a publish failed whose confirmation was dropped");
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
    }

    fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Publisher {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self(Arc::new(Line {
            core,
            items: OnceLock::new(),
            unseen: Arc::default(),
        }))
    }

    /// Encodes `event`; awaiting waits for room in the window, then fixes its place in the order.
    ///
    /// Options as for [`BusClient::publish`](crate::BusClient::publish).
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the message is not sent; every other one is.
    pub fn send<E: Event>(&self, event: &E) -> Publish<Ordered> {
        Publish::new(&self.0.core, event, Ordered(Arc::clone(&self.0)))
    }

    /// Sends `event` without waiting; with options: [`Publish::now`].
    ///
    /// # Errors
    /// `Throttled` when there is no room; otherwise what [`send`](Self::send) returns.
    pub fn try_send<E: Event>(&self, event: &E) -> Result<PublishConfirmation> {
        self.send(event).now()
    }

    /// Waits until every message sent before has its outcome.
    ///
    /// # Errors
    /// The first error of a message whose confirmation was dropped unseen since the last flush; errors of
    /// kept confirmations are theirs. `Closed` when the publisher's runtime is gone.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn flush(&self) -> Result<()> {
        if let Some(items) = self.0.items.get() {
            let (flushed, done) = oneshot::channel();
            items.send(Item::Flush(flushed)).map_err(|_| gone())?;
            done.await.map_err(|_| gone())?;
        }
        self.0.unseen.take().map_or(Ok(()), Err)
    }
}

impl Line {
    fn push(&self, message: Arc<Message>, room: Room) -> Result<PublishConfirmation> {
        let (outcome, result) = oneshot::channel();
        let item = Item::Send(message, room, outcome);
        self.items()?.send(item).map_err(|_| gone())?;
        Ok(PublishConfirmation {
            result: Some(result),
            unseen: Arc::clone(&self.unseen),
        })
    }

    /// The way to the task, which is started when it is first needed.
    fn items(&self) -> Result<&mpsc::UnboundedSender<Item>> {
        if let Some(items) = self.items.get() {
            return Ok(items);
        }
        let runtime = Handle::try_current().map_err(|error| {
            Error::new(
                ErrorKind::Unavailable,
                "a publisher is first used inside a tokio runtime",
            )
            .retryable(false)
            .caused_by(error)
        })?;
        Ok(self.items.get_or_init(|| {
            let (items, inbox) = mpsc::unbounded_channel();
            let drive = driver::drive(Arc::clone(&self.core), inbox, Arc::clone(&self.unseen));
            // It ends when every clone is dropped and everything sent has its outcome; `close` waits for
            // the room that its messages hold.
            runtime.spawn(drive);
            items
        }))
    }
}

impl Publish<Ordered> {
    /// Sends without waiting for room.
    ///
    /// # Errors
    /// `Throttled` when there is no room; otherwise what awaiting returns.
    pub fn now(self) -> Result<PublishConfirmation> {
        let (core, message, Ordered(line)) = self.checked()?;
        let room = core.try_room(&message)?;
        line.push(message, room)
    }
}

impl IntoFuture for Publish<Ordered> {
    type Output = Result<PublishConfirmation>;
    type IntoFuture = Sending;

    /// Waits for room, then fixes the place in the order.
    ///
    /// # Errors
    /// What is known before sending: `TooLarge`, `Encode`, `InvalidArgument`, `Closed`. Everything else is
    /// the confirmation's.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the message is not sent; every other one is.
    fn into_future(self) -> Self::IntoFuture {
        Sending(State::Draft(self))
    }
}

/// A message of a [`Publisher`] that waits for room; what awaiting [`Publisher::send`] is.
#[must_use = "nothing is sent until it is awaited"]
#[derive(Debug)]
pub struct Sending(State);

enum State {
    Draft(Publish<Ordered>),
    /// There was no room at once.
    Waiting(Pin<Box<dyn Future<Output = Result<PublishConfirmation>> + Send>>),
    Done,
}

impl Future for Sending {
    type Output = Result<PublishConfirmation>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Within tokio's budget for one task, so that the publisher's own task runs, too.
        let budget = ready!(tokio::task::coop::poll_proceed(cx));
        loop {
            match std::mem::replace(&mut self.0, State::Done) {
                State::Draft(draft) => {
                    budget.made_progress();
                    let (core, message, Ordered(line)) = draft.checked()?;
                    if let Ok(room) = core.try_room(&message) {
                        return Poll::Ready(line.push(message, room));
                    }
                    self.0 = State::Waiting(Box::pin(async move {
                        let room = core.room(&message).await?;
                        line.push(message, room)
                    }));
                }
                State::Waiting(mut waiting) => {
                    let polled = waiting.as_mut().poll(cx);
                    if polled.is_pending() {
                        self.0 = State::Waiting(waiting);
                    }
                    return polled;
                }
                State::Done => return Poll::Ready(Err(handed_out())),
            }
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Draft(_) => "Draft",
            Self::Waiting(_) => "Waiting",
            Self::Done => "Done",
        })
    }
}

/// Resolves when the broker has confirmed a message of a [`Publisher`]. The message is published whether
/// or not this is awaited; an error that nobody looks at is reported by [`Publisher::flush`].
///
/// # Errors
/// [`is_indeterminate`](crate::Error::is_indeterminate) tells whether the message may nevertheless be
/// stored.
///
/// # Cancel safety
/// It can be polled again after a lost race, and dropping it cancels nothing.
#[must_use = "await it to know that the broker has confirmed, or drop it and flush"]
#[derive(Debug)]
pub struct PublishConfirmation {
    /// `None` once the outcome was handed out.
    result: Option<oneshot::Receiver<Result<Confirmed>>>,
    unseen: Arc<Unseen>,
}

impl Future for PublishConfirmation {
    type Output = Result<Confirmed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(result) = &mut self.result else {
            return Poll::Ready(Err(handed_out()));
        };
        let outcome = ready!(Pin::new(result).poll(cx));
        self.result = None;
        Poll::Ready(outcome.unwrap_or_else(|_| Err(gone().indeterminate())))
    }
}

impl Drop for PublishConfirmation {
    fn drop(&mut self) {
        if let Some(result) = &mut self.result {
            // From here on the driver itself notes what it cannot hand over; what came before is noted here.
            result.close();
            if let Ok(Err(error)) = result.try_recv() {
                self.unseen.note(error);
            }
        }
    }
}

fn handed_out() -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "the outcome of this publish was already handed out",
    )
}

fn gone() -> Error {
    Error::new(
        ErrorKind::Closed,
        "the runtime of this publisher was shut down",
    )
}
