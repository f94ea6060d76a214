//! Asking: requests and replies are plain NATS messages in no stream.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_nats::StatusCode;
use bus_api::cloudevents::{self, Extent, Known, Style};
use bus_api::{ErrorKind, Message, Offset, Position, Result, Topic};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::core::Core;
use crate::error::{NAME, closed, error, too_large, unavailable};
use crate::link::wire_size;
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

#[derive(Default)]
struct Waiting(Mutex<HashMap<u64, oneshot::Sender<Answer>>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

fn nobody() -> bus_api::Error {
    error(
        ErrorKind::NoResponders,
        "nobody answers requests of this topic",
    )
}

/// Reads a request or a reply.
pub(crate) fn read<'a>(
    topic: Topic,
    pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    payload: Bytes,
) -> Result<Message> {
    let position = Position::new(Arc::from(NAME), Offset(0, 0), SystemTime::now());
    let known = Known::at(&position, topic, NAME);
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
                let number = message.subject.rsplit('.').next();
                let number = number.and_then(|number| number.parse().ok());
                let asked = number.and_then(|number: u64| to.lock().remove(&number));
                if let Some(asked) = asked {
                    // Whoever does not wait any more gets nothing: a late reply is dropped.
                    let _ = asked.send(Ok(message));
                }
            }
        });
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
    pub(crate) async fn request(&self, message: Message, deadline: Instant) -> Result<Message> {
        let late = || error(ErrorKind::Timeout, "no reply came in time");
        tokio::time::timeout_at(deadline, self.ask(&message, deadline))
            .await
            .unwrap_or_else(|_| Err(late()))
            .map_err(|failed| failed.with("topic", &message.topic))
    }

    async fn ask(&self, message: &Message, deadline: Instant) -> Result<Message> {
        let core = &self.core;
        if message.payload.len() > core.max_payload {
            return Err(too_large(message.payload.len(), core.max_payload));
        }
        core.link.socket.until_up(deadline).await?;
        let mut headers = self.template().headers(message, Extent::Whole)?;
        let wait = deadline.saturating_duration_since(Instant::now());
        wire::put(&mut headers, WAIT, &wait.as_millis().to_string())?;
        let until = core.clock.at_server(deadline);
        let until = until.and_then(|until| until.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let Some(until) = until {
            wire::put(&mut headers, UNTIL, &until.as_millis().to_string())?;
        }
        let most = core.link.most();
        let bytes = wire_size(&headers) + message.payload.len();
        if bytes > most {
            return Err(too_large(bytes, most));
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().insert(number, answer);
        let _asked = Asked {
            waiting: &self.waiting,
            number,
        };
        let reply = format!("{}.{number}", self.inbox);
        let subject = core.keys.request(&message.topic);
        core.link
            .socket
            .client()?
            .publish_with_reply_and_headers(subject, reply, headers, message.payload.clone())
            .await
            .map_err(|_| unavailable())?;
        let mut watch = core.link.socket.watch();
        let answer = tokio::select! {
            answer = answered => answer.map_err(|_| closed())??,
            () = core.life.ended() => return Err(closed()),
            _ = watch.wait_for(|reach| !reach.up) => {
                return Err(unavailable().indeterminate());
            }
        };
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(nobody());
        }
        let pairs = wire::pairs(answer.headers.as_ref());
        read(message.topic.clone(), pairs, answer.payload.clone())
    }
}

impl std::fmt::Debug for Requester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requester").finish_non_exhaustive()
    }
}
