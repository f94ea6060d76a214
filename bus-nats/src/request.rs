//! Asking: requests and replies are plain NATS messages in no stream.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_nats::{HeaderMap, HeaderValue, StatusCode};
use bus_api::cloudevents::{self, Extent, Known, Style};
use bus_api::{Error, ErrorKind, Message, Offset, Position, Result, Topic};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::by_number::ByNumber;
use crate::core::Core;
use crate::digits;
use crate::error::{NAME, closed, error, too_large, unavailable};
use crate::link::wire_size;
use crate::socket::Reach;
use crate::template::Template;
use crate::wire;

/// The header that says how many milliseconds the requester waits.
pub(crate) const WAIT: &str = "bus-wait";
/// The header that says until when, in milliseconds since 1970 by the clock of the server that leads the stream of
/// messages: what a message takes on its way counts, too.
pub(crate) const UNTIL: &str = "bus-until";

type Answer = Result<async_nats::Message>;

/// Asks, and brings replies to whoever asked.
pub(crate) struct Requester {
    core: Arc<Core>,
    inbox: String,
    next: AtomicU64,
    waiting: Arc<Waiting>,
    template: Mutex<Template>,
}

/// Whoever waits for a reply, by the number of the request, and the number of the connection that it went over.
#[derive(Default)]
struct Waiting(Mutex<ByNumber<(u64, oneshot::Sender<Answer>)>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, ByNumber<(u64, oneshot::Sender<Answer>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings a reply to whoever waits for it; a late one is dropped.
    fn answer(&self, reply: async_nats::Message) {
        let number = digits::last(&reply.subject);
        let asked = number.and_then(|number| self.lock().remove(&number));
        if let Some((_, asked)) = asked {
            // Whoever does not wait any more gets nothing.
            let _ = asked.send(Ok(reply));
        }
    }

    /// Tells those who asked over a connection that is gone, with every change of `reach`. One task does it for all:
    /// waiting for that in each request takes more than the reply does.
    async fn watch(&self, mut reach: watch::Receiver<Reach>) {
        while reach.changed().await.is_ok() {
            let now = *reach.borrow_and_update();
            let lost = |epoch: u64| !now.up || epoch != now.epoch;
            for (_, (_, asked)) in self.lock().extract_if(|_, (epoch, _)| lost(*epoch)) {
                let _ = asked.send(Err(unavailable().indeterminate()));
            }
        }
    }
}

/// Ends all requests with the connection.
struct EndsWith(Arc<Waiting>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        for (_, (_, asked)) in self.0.lock().drain() {
            let _ = asked.send(Err(closed()));
        }
    }
}

/// A request under way; leaves nothing behind, also when it is cancelled.
struct Asked<'a> {
    waiting: &'a Waiting,
    number: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.number);
    }
}

/// The id of a request or reply that says none: that of a place in no log.
struct Nameless(SystemTime);

impl fmt::Display for Nameless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Position::new(Arc::from(NAME), Offset(0, 0), self.0).fmt(f)
    }
}

fn nobody() -> Error {
    error(
        ErrorKind::NoResponders,
        "nobody answers requests of this topic",
    )
}

fn millis(duration: Duration) -> HeaderValue {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .into()
}

/// Reads a request or a reply.
pub(crate) fn read<'a>(
    topic: Topic,
    pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    payload: Bytes,
) -> Result<Message> {
    let now = SystemTime::now();
    let known = Known {
        topic,
        key: None,
        id: &Nameless(now),
        transport: NAME,
        stored_at: now,
    };
    let decoded = cloudevents::read(Style::Nats, Extent::Whole, pairs, payload, &known)?;
    match decoded.malformed {
        None => Ok(decoded.message),
        Some(why) => Err(error(
            ErrorKind::Decode,
            format!("a request or reply cannot be read: {why}"),
        )),
    }
}

impl Requester {
    /// Starts to listen for replies.
    pub(crate) async fn start(core: &Arc<Core>) -> Result<Arc<Self>> {
        let inbox = core
            .keys
            .replies(&uuid::Uuid::new_v4().simple().to_string());
        let waiting = Arc::<Waiting>::default();
        let mut replies = core.link.socket.subscribe(format!("{inbox}.*")).await?;
        let to = Arc::clone(&waiting);
        core.life.spawn(async move {
            while let Some(message) = replies.next().await {
                to.answer(message);
            }
        });
        let (ends, reach) = (EndsWith(Arc::clone(&waiting)), core.link.socket.watch());
        core.life.spawn(async move { ends.0.watch(reach).await });
        Ok(Arc::new(Self {
            core: Arc::clone(core),
            inbox,
            next: AtomicU64::new(0),
            waiting,
            template: Mutex::default(),
        }))
    }

    fn template(&self) -> MutexGuard<'_, Template> {
        self.template.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks and waits for the first reply.
    pub(crate) async fn request(&self, message: &Message, deadline: Instant) -> Result<Message> {
        let late = || error(ErrorKind::Timeout, "no reply came in time");
        tokio::time::timeout_at(deadline, self.ask(message, deadline))
            .await
            .unwrap_or_else(|_| Err(late()))
            .map_err(|failed| failed.with("topic", &message.topic))
    }

    async fn ask(&self, message: &Message, deadline: Instant) -> Result<Message> {
        let core = &self.core;
        if message.payload.len() > core.max_payload {
            return Err(too_large(message.payload.len(), core.max_payload));
        }
        let reach = core.link.socket.until_up(deadline).await?;
        let headers = self.headers(message, deadline)?;
        let most = core.link.most();
        let bytes = wire_size(&headers) + message.payload.len();
        if bytes > most {
            return Err(too_large(bytes, most));
        }
        let (asked, answered) = self.wait(reach)?;
        let mut reply = String::with_capacity(self.inbox.len() + 21);
        reply.push_str(&self.inbox);
        reply.push('.');
        digits::push(&mut reply, asked.number);
        let subject = core.keys.request(&message.topic);
        core.link
            .socket
            .client()?
            .publish_with_reply_and_headers(subject, reply, headers, message.payload.clone())
            .await
            .map_err(|_| unavailable())?;
        let answer = answered.await.map_err(|_| closed())??;
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(nobody());
        }
        let pairs = wire::pairs(answer.headers.as_ref());
        read(message.topic.clone(), pairs, answer.payload)
    }

    /// The headers of a request: those of the message, and how long it waits.
    fn headers(&self, message: &Message, deadline: Instant) -> Result<HeaderMap> {
        let mut headers = self.template().headers(message, Extent::Whole)?;
        let wait = deadline.saturating_duration_since(Instant::now());
        headers.insert(wire::name(WAIT)?, millis(wait));
        let until = self.core.clock.at_server(deadline);
        let until = until.and_then(|until| until.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let Some(until) = until {
            headers.insert(wire::name(UNTIL)?, millis(until));
        }
        Ok(headers)
    }

    /// Begins to wait for a reply over the connection that was there.
    ///
    /// # Errors
    /// `Unavailable` when it has gone, `Closed` when there will be none.
    fn wait(&self, reach: Reach) -> Result<(Asked<'_>, oneshot::Receiver<Answer>)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().insert(number, (reach.epoch, answer));
        let asked = Asked {
            waiting: &self.waiting,
            number,
        };
        // Those who wait may have been told already; of what changes from now on this one is told, too.
        self.core.usable()?;
        if self.core.link.socket.reach() != reach {
            return Err(unavailable());
        }
        Ok((asked, answered))
    }
}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requester").finish_non_exhaustive()
    }
}
