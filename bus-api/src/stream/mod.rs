//! Streams: events one by one, settled by a token.

mod builder;
mod received;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use metrics::{Counter, counter};
use tokio::time::Instant;

pub use self::builder::Subscribe;
pub use self::received::{AckToken, Received, Settling};
use crate::client::{BusClient, Core};
use crate::contract::{Failure, Group, Message, Scope};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Codecs, Event, EventType};
use crate::member::{Decision, DrainReport, Held, Member};
use crate::telemetry::{BROADCAST_LABEL, metric};

/// How long [`Subscription::close`] waits at most.
const CLOSE_WITHIN: Duration = Duration::from_secs(20);

impl BusClient {
    /// Joins a durable subscription as one of the competing members of `group`: options first, then
    /// `.await` for a [`Subscription`], a stream of `E` whose events are settled one by one.
    ///
    /// A [`worker`](Self::worker) settles by what its handlers return and is the better choice unless the
    /// flow of settling is your own.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example<OrderPlaced: bus_api::Event>(bus: bus_api::BusClient) -> bus_api::Result<()> {
    /// let mut orders = bus.subscribe::<OrderPlaced>("mail").max_in_flight(32).await?;
    /// while let Some(received) = orders.next().await {
    ///     let order = received?;
    ///     println!("{} for the {}. time", order.metadata().id, order.attempt());
    ///     order.ack().await?;
    /// }
    /// orders.close().await
    /// # }
    /// ```
    ///
    /// Messages of other types on these topics are settled unseen and counted. One that cannot be decoded
    /// is dead-lettered with its bytes. For messages of any type subscribe to [`Raw`](crate::Raw) with a
    /// [`pattern`](Subscribe::pattern).
    pub fn subscribe<E: Event>(&self, group: impl AsRef<str>) -> Subscribe<E> {
        Subscribe::new(Arc::clone(self.core()), Group::new(group).map(Scope::Group))
    }

    /// Joins as a broadcast subscriber: it gets every message from its start on and leaves nothing behind.
    ///
    /// Failed deliveries come again in this stream; after the last attempt they are counted, logged and
    /// dropped. Otherwise as [`subscribe`](Self::subscribe).
    pub fn broadcast<E: Event>(&self) -> Subscribe<E> {
        Subscribe::new(Arc::clone(self.core()), Ok(Scope::Broadcast))
    }
}

/// A stream of events, settled one by one; see [`BusClient::subscribe`].
///
/// It is a [`Stream`] and has [`next`](Self::next) and [`next_batch`](Self::next_batch) of its own. An
/// error ends it: `NotFound` when the subscription was deleted, `Unsupported` when a newer release has left
/// records behind that this one cannot read. Then, and when the bus is closed, it is over: `None`.
///
/// Whoever holds several deliveries of a redelivered kind when the process dies finds a crash recorded for
/// each of them; a [`worker`](BusClient::worker) runs such ones alone.
///
/// Dropped, it hands back what was not handed out, and leaves when the last token is settled;
/// [`close`](Self::close) waits for that.
#[derive(Debug)]
pub struct Subscription<E> {
    members: Vec<Member>,
    /// Which member is asked first, so that none is starved.
    first: usize,
    over: bool,
    reader: Reader<E>,
    /// What the next call says, because a batch came first.
    failed: Option<Error>,
}

/// Makes events of deliveries.
#[derive(Debug)]
struct Reader<E> {
    core: Arc<Core>,
    unknown: Counter,
    /// Names of the types that are taken; none means all.
    types: Vec<EventType>,
    decode: fn(&Message, &Codecs) -> Result<E>,
}

impl<E: Event> Subscription<E> {
    fn new(core: Arc<Core>, members: Vec<Member>, scope: &Scope, types: Vec<EventType>) -> Self {
        let group = match scope {
            Scope::Group(group) => group.as_str(),
            Scope::Broadcast => BROADCAST_LABEL,
        };
        let transport = core.transport();
        let reader = Reader {
            unknown: counter!(
                metric::UNKNOWN_TYPES, "transport" => transport, "group" => group.to_owned()
            ),
            types,
            decode: E::from_message,
            core,
        };
        Self {
            members,
            first: 0,
            over: false,
            reader,
            failed: None,
        }
    }
}

impl<E> Subscription<E> {
    /// Waits for the next event. `None` when the stream is over; an error ends it.
    ///
    /// Cancel safe: dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Received<E>>> {
        std::future::poll_fn(|cx| self.poll_one(cx)).await
    }

    /// Waits for at least one event and returns up to `max` of those that are there. Without order across
    /// members it may hold several of a key, in order.
    ///
    /// Settling many is cheapest when it is begun for all of them, as [`Received::ack`] does at once, and then
    /// awaited one after the other: they go to the broker together.
    ///
    /// Cancel safe.
    pub async fn next_batch(&mut self, max: usize) -> Option<Result<Vec<Received<E>>>> {
        std::future::poll_fn(|cx| self.poll_many(cx, max.max(1))).await
    }

    /// Stops fetching, hands back what was not handed out, waits up to 20 seconds until everything that was
    /// is settled, and leaves.
    ///
    /// # Errors
    /// As [`close_within`](Self::close_within).
    pub async fn close(self) -> Result<()> {
        self.close_within(CLOSE_WITHIN).await
    }

    /// The same with another limit.
    ///
    /// # Errors
    /// `Timeout` when tokens were still held or the broker had not confirmed everything by then: it comes
    /// again when its lease ends. Otherwise what the broker said about leaving.
    pub async fn close_within(self, limit: Duration) -> Result<()> {
        let now = Instant::now();
        let deadline = now.checked_add(limit).unwrap_or_else(|| now + CLOSE_WITHIN);
        let drains = self
            .members
            .into_iter()
            .map(|member| member.drain(deadline));
        let reports = futures_util::future::join_all(drains).await;
        reports.iter().try_for_each(closed)
    }

    fn poll_one(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Received<E>>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some(error) = self.failed.take() {
            return Poll::Ready(self.end(Some(error)));
        }
        let count = self.members.len();
        let mut ended = 0;
        for turn in 0..count {
            let index = (self.first + turn) % count;
            loop {
                match self.members[index].poll_next(cx) {
                    Poll::Ready(Some(Ok(held))) => {
                        if let Some(received) = self.reader.read(held) {
                            self.first = (index + 1) % count;
                            return Poll::Ready(Some(Ok(received)));
                        }
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(self.end(Some(error))),
                    Poll::Ready(None) => {
                        ended += 1;
                        break;
                    }
                    Poll::Pending => break,
                }
            }
        }
        if ended == count {
            return Poll::Ready(self.end(None));
        }
        Poll::Pending
    }

    fn poll_many(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<Option<Result<Vec<Received<E>>>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some(error) = self.failed.take() {
            return Poll::Ready(self.end(Some(error)));
        }
        let count = self.members.len();
        let mut batch = Vec::new();
        let (mut ended, mut failed) = (0, None);
        for turn in 0..count {
            let index = (self.first + turn) % count;
            while batch.len() < max {
                let room = max - batch.len();
                match self.members[index].poll_batch(cx, room, Duration::ZERO) {
                    Poll::Ready(Some(Ok(more))) => {
                        batch.reserve(more.len());
                        batch.extend(more.filter_map(|held| self.reader.read(held)));
                    }
                    Poll::Ready(Some(Err(error))) => {
                        failed = Some(error);
                        break;
                    }
                    Poll::Ready(None) => {
                        ended += 1;
                        break;
                    }
                    Poll::Pending => break,
                }
            }
        }
        self.first = (self.first + 1) % count;
        if !batch.is_empty() {
            self.failed = failed;
            return Poll::Ready(Some(Ok(batch)));
        }
        if failed.is_some() || ended == count {
            return Poll::Ready(self.end(failed));
        }
        Poll::Pending
    }

    /// It is over; the other patterns stop, too.
    fn end<T>(&mut self, error: Option<Error>) -> Option<Result<T>> {
        self.over = true;
        for member in &mut self.members {
            member.stop();
        }
        error.map(Err)
    }
}

impl<E> Reader<E> {
    /// The event of a delivery. What is none of this stream's is settled here.
    fn read(&self, held: Held) -> Option<Received<E>> {
        if let Some(name) = held.message().metadata.event_type.as_deref()
            && !(self.types.is_empty() || self.types.iter().any(|known| known.is(name)))
        {
            self.unknown.increment(1);
            tracing::debug!(
                target: "bus", topic = %held.message().topic, r#type = name,
                "a message of a type that the stream does not take is settled unseen"
            );
            held.done();
            return None;
        }
        match (self.decode)(held.message(), &self.core.codecs) {
            Ok(event) => Some(Received::new(event, held)),
            Err(error) => {
                let failure = Failure::new(Failure::DECODE, error.to_string());
                drop(held.fail(failure, Decision::DeadLetter));
                None
            }
        }
    }
}

impl<E> Stream for Subscription<E> {
    type Item = Result<Received<E>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_one(cx)
    }
}

fn closed(report: &DrainReport) -> Result<()> {
    if report.is_clean() {
        return Ok(());
    }
    let timeout = || {
        Error::new(
            ErrorKind::Timeout,
            "the subscription was left before everything was settled; the rest comes again",
        )
        .with("held", report.abandoned)
        .with("unconfirmed", report.unconfirmed)
    };
    Err(report.error.clone().unwrap_or_else(timeout))
}
