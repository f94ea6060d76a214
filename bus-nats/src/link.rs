//! Asking the server: everything that is answered goes through one inbox, in the order of the calls.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{HeaderMap, Message, StatusCode, Subject};
use bus_api::Error;
use bus_api::adapter::Life;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::core::Core;
use crate::error::{closed, denied, no_answer, too_large, unavailable};
use crate::socket::Socket;

/// Why nothing came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It was not sent: the server cannot be reached.
    Unsent,
    /// It was or may have been sent, and there is no answer.
    Unanswered,
    /// Nobody takes messages of this subject.
    NoResponders,
    /// The user may not send to this subject.
    Denied(String),
    /// It has more bytes than the server takes.
    TooLarge { bytes: usize, most: usize },
    /// The connection was closed.
    Closed,
}

impl Lost {
    /// The error of something whose effect is not known unless it was not sent.
    pub(crate) fn error(self) -> Error {
        match self {
            Self::Unsent => unavailable(),
            Self::Unanswered => no_answer().indeterminate(),
            Self::NoResponders => unavailable(),
            Self::Denied(subject) => denied(&subject),
            Self::TooLarge { bytes, most } => too_large(bytes, most),
            Self::Closed => closed().indeterminate(),
        }
    }
}

type Answer = Result<Message, Lost>;

/// A message on its way out.
struct Out {
    id: u64,
    subject: Subject,
    reply: Subject,
    headers: Option<HeaderMap>,
    payload: Bytes,
}

/// Whoever waits for an answer.
struct Waiting {
    answer: oneshot::Sender<Answer>,
    subject: Subject,
    sent: bool,
    /// Nobody waits any more; it is sent all the same.
    given_up: bool,
}

#[derive(Default)]
struct Slots(Mutex<HashMap<u64, Waiting>>);

impl Slots {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, id: u64, answer: Answer) {
        let waiting = self.lock().remove(&id);
        if let Some(waiting) = waiting {
            // Whoever does not wait any more does not want to know.
            let _ = waiting.answer.send(answer);
        }
    }

    /// Notes that it is sent now; false when whoever waited was told that it is not.
    fn sending(&self, id: u64) -> bool {
        let mut slots = self.lock();
        let Some(waiting) = slots.get_mut(&id) else {
            return false;
        };
        waiting.sent = true;
        if waiting.given_up {
            slots.remove(&id);
        }
        true
    }

    /// Nobody waits for the answer any more.
    fn give_up(&self, id: u64) {
        let mut slots = self.lock();
        match slots.get_mut(&id) {
            Some(waiting) if !waiting.sent => waiting.given_up = true,
            _ => {
                slots.remove(&id);
            }
        }
    }

    /// The connection broke: no answer is on its way any more.
    fn broken(&self) {
        let all: Vec<Waiting> = self.lock().drain().map(|(_, waiting)| waiting).collect();
        for waiting in all {
            let lost = if waiting.sent {
                Lost::Unanswered
            } else {
                Lost::Unsent
            };
            let _ = waiting.answer.send(Err(lost));
        }
    }

    fn denied(&self, subject: &str) {
        let mut slots = self.lock();
        let ids: Vec<u64> = slots
            .iter()
            .filter(|(_, waiting)| &*waiting.subject == subject)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Some(waiting) = slots.remove(&id) {
                let _ = waiting.answer.send(Err(Lost::Denied(subject.to_owned())));
            }
        }
    }
}

/// Which of the two lines a message waits in: large payloads do not hold up the small ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Publishing.
    Data,
    /// Everything else.
    Control,
}

/// Sends, and brings answers to whoever waits for them.
pub(crate) struct Link {
    pub(crate) socket: Socket,
    life: Arc<Life>,
    inbox: String,
    next: AtomicU64,
    slots: Arc<Slots>,
    data: mpsc::UnboundedSender<Out>,
    control: mpsc::UnboundedSender<Out>,
    queues: Mutex<Option<Queues>>,
}

/// What the tasks take over when they start.
struct Queues {
    data: mpsc::UnboundedReceiver<Out>,
    control: mpsc::UnboundedReceiver<Out>,
    violations: mpsc::UnboundedReceiver<String>,
}

/// An answer that is waited for.
pub(crate) struct Slot {
    id: u64,
    slots: Arc<Slots>,
    answer: oneshot::Receiver<Answer>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.give_up(self.id);
    }
}

impl Slot {
    /// Waits for the answer, at most so long.
    pub(crate) async fn answer(mut self, patience: Duration) -> Answer {
        match tokio::time::timeout(patience, &mut self.answer).await {
            Ok(Ok(answer)) => answer.and_then(heard),
            Ok(Err(_)) => Err(Lost::Closed),
            Err(_) => Err(Lost::Unanswered),
        }
    }
}

fn heard(message: Message) -> Answer {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(Lost::NoResponders);
    }
    Ok(message)
}

impl Link {
    pub(crate) fn new(
        socket: Socket,
        life: Arc<Life>,
        inbox: String,
        violations: mpsc::UnboundedReceiver<String>,
    ) -> Arc<Self> {
        // The core of the bus bounds what is outstanding; waiting here would break the order.
        let (data, data_queue) = mpsc::unbounded_channel();
        let (control, control_queue) = mpsc::unbounded_channel();
        Arc::new(Self {
            socket,
            life,
            inbox,
            next: AtomicU64::new(0),
            slots: Arc::default(),
            data,
            control,
            queues: Mutex::new(Some(Queues {
                data: data_queue,
                control: control_queue,
                violations,
            })),
        })
    }

    /// Starts the tasks that send and receive.
    pub(crate) async fn start(self: &Arc<Self>, core: &Core) -> Result<(), Error> {
        let queues = self
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(queues) = queues else { return Ok(()) };
        let mut answers = self.socket.subscribe(format!("{}.*", self.inbox)).await?;
        let slots = Arc::clone(&self.slots);
        core.life.spawn(async move {
            while let Some(message) = answers.next().await {
                let id = message.subject.rsplit('.').next();
                if let Some(id) = id.and_then(|id| id.parse().ok()) {
                    slots.answer(id, Ok(message));
                }
            }
        });
        core.life.spawn(pump(Arc::clone(self), queues.data));
        core.life.spawn(pump(Arc::clone(self), queues.control));
        let (slots, mut reach) = (Arc::clone(&self.slots), self.socket.watch());
        core.life.spawn(async move {
            while reach.changed().await.is_ok() {
                if !reach.borrow_and_update().up {
                    slots.broken();
                }
            }
        });
        let (slots, mut violations) = (Arc::clone(&self.slots), queues.violations);
        core.life.spawn(async move {
            while let Some(subject) = violations.recv().await {
                slots.denied(&subject);
            }
        });
        Ok(())
    }

    /// Sends and expects an answer. When this has returned, the message has its place in its line.
    pub(crate) fn send(
        &self,
        line: Line,
        subject: impl Into<Subject>,
        headers: Option<HeaderMap>,
        payload: impl Into<Bytes>,
    ) -> Slot {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let reply = Subject::from(format!("{}.{id}", self.inbox));
        self.place(line, id, subject.into(), reply, headers, payload.into())
    }

    fn place(
        &self,
        line: Line,
        id: u64,
        subject: Subject,
        reply: Subject,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Slot {
        let (answer, waiting) = oneshot::channel();
        let lost = if self.life.is_over() {
            Some(Lost::Closed)
        } else if !self.socket.reach().up {
            Some(Lost::Unsent)
        } else {
            None
        };
        let slot = Slot {
            id,
            slots: Arc::clone(&self.slots),
            answer: waiting,
        };
        if let Some(lost) = lost {
            let _ = answer.send(Err(lost));
            return slot;
        }
        let waiting = Waiting {
            answer,
            subject: subject.clone(),
            sent: false,
            given_up: false,
        };
        self.slots.lock().insert(id, waiting);
        let out = Out {
            id,
            subject,
            reply,
            headers,
            payload,
        };
        let queue = match line {
            Line::Data => &self.data,
            Line::Control => &self.control,
        };
        if queue.send(out).is_err() {
            self.slots.answer(id, Err(Lost::Closed));
        }
        slot
    }

    /// Waits until the server is reached, then sends and waits for the answer.
    pub(crate) async fn ask(
        &self,
        subject: impl Into<Subject>,
        headers: Option<HeaderMap>,
        payload: impl Into<Bytes>,
        patience: Duration,
    ) -> Answer {
        let deadline = Instant::now() + patience;
        if self.socket.until_up(deadline).await.is_err() {
            return Err(if self.life.is_over() {
                Lost::Closed
            } else {
                Lost::Unsent
            });
        }
        let slot = self.send(Line::Control, subject, headers, payload);
        slot.answer(patience).await
    }

    /// The most bytes of a message with its headers.
    pub(crate) fn most(&self) -> usize {
        self.socket
            .client()
            .map_or(1 << 20, |client| client.max_payload())
    }

    /// Nothing is answered any more.
    pub(crate) fn close(&self) {
        self.socket.close();
        let all: Vec<Waiting> = self.slots.lock().drain().map(|(_, w)| w).collect();
        for waiting in all {
            let _ = waiting.answer.send(Err(Lost::Closed));
        }
    }

    /// Answers that are waited for.
    pub(crate) fn outstanding(&self) -> usize {
        self.slots.lock().len()
    }
}

/// Sends what waits in one line, in order.
async fn pump(link: Arc<Link>, mut queue: mpsc::UnboundedReceiver<Out>) {
    while let Some(out) = queue.recv().await {
        let id = out.id;
        if !link.socket.reach().up {
            link.slots.answer(id, Err(Lost::Unsent));
            continue;
        }
        if !link.slots.sending(id) {
            continue;
        }
        let Ok(client) = link.socket.client() else {
            return;
        };
        let most = client.max_payload();
        let bytes = out.payload.len() + out.headers.as_ref().map_or(0, wire_size);
        if bytes > most {
            link.slots.answer(id, Err(Lost::TooLarge { bytes, most }));
            continue;
        }
        let sent = match out.headers {
            Some(headers) => {
                client
                    .publish_with_reply_and_headers(out.subject, out.reply, headers, out.payload)
                    .await
            }
            None => {
                client
                    .publish_with_reply(out.subject, out.reply, out.payload)
                    .await
            }
        };
        if sent.is_err() {
            link.slots.answer(id, Err(Lost::Unsent));
        }
    }
}

/// What headers take on the wire.
pub(crate) fn wire_size(headers: &HeaderMap) -> usize {
    let pairs = headers.iter().flat_map(|(name, values)| {
        values
            .iter()
            .map(move |value| AsRef::<str>::as_ref(name).len() + value.as_str().len() + 4)
    });
    12 + pairs.sum::<usize>()
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}
