//! Asking the server: everything that is answered goes through one inbox, in the order of the calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, HeaderMap, Subject};
use bus_api::adapter::Life;
use bus_api::{Error, Message};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::core::Core;
use crate::digits;
use crate::keys::Keys;
use crate::outgoing::{Outgoing, write};
use crate::slots::{Answer, Slots};
pub(crate) use crate::slots::{Line, Lost, Slot};
use crate::socket::Socket;
use crate::template::Template;

/// A message on its way out.
struct Out {
    id: u64,
    what: What,
}

enum What {
    Ready(Outgoing),
    /// Written only when it is sent: many may wait, and written ones are many small pieces of memory.
    Message(Arc<Message>),
}

/// Messages that one line takes up at once.
const AT_ONCE: usize = 64;
/// After so long without an answer a question is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Sends, and brings answers to whoever waits for them.
pub(crate) struct Link {
    pub(crate) socket: Socket,
    life: Arc<Life>,
    keys: Keys,
    inbox: String,
    next: AtomicU64,
    pub(crate) slots: Arc<Slots>,
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

impl Link {
    pub(crate) fn new(
        socket: Socket,
        life: Arc<Life>,
        keys: Keys,
        inbox: String,
        violations: mpsc::UnboundedReceiver<String>,
    ) -> Arc<Self> {
        // The core of the bus bounds what is outstanding; waiting here would break the order.
        let (data, data_queue) = mpsc::unbounded_channel();
        let (control, control_queue) = mpsc::unbounded_channel();
        Arc::new(Self {
            socket,
            life,
            keys,
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
                if let Some(id) = digits::last(&message.subject) {
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
        let outgoing = Outgoing {
            subject: subject.into(),
            headers,
            payload: payload.into(),
        };
        self.place(line, What::Ready(outgoing))
    }

    /// The same for a message of the bus, which is stored.
    pub(crate) fn publish(&self, message: Arc<Message>) -> Slot {
        self.place(Line::Data, What::Message(message))
    }

    fn place(&self, line: Line, what: What) -> Slot {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, waiting) = oneshot::channel();
        let lost = if self.life.is_over() {
            Some(Lost::Closed)
        } else if !self.socket.reach().up {
            Some(Lost::Unsent)
        } else {
            None
        };
        let slot = Slot::new(id, Arc::clone(&self.slots), waiting);
        if let Some(lost) = lost {
            let _ = answer.send(Err(lost));
            return slot;
        }
        self.slots.open(id, line, answer);
        let queue = match line {
            Line::Data => &self.data,
            Line::Control => &self.control,
        };
        if queue.send(Out { id, what }).is_err() {
            self.slots.answer(id, Err(Lost::Closed));
        }
        slot
    }

    /// Waits until the server is reached, then sends and waits for the answer.
    pub(crate) async fn ask_once(
        &self,
        subject: impl Into<Subject>,
        headers: Option<HeaderMap>,
        payload: impl Into<Bytes>,
        patience: Duration,
    ) -> Answer {
        self.reached(Instant::now() + patience).await?;
        let slot = self.send(Line::Control, subject, headers, payload);
        slot.answer(patience).await
    }

    /// The same for a question that may be asked twice: it is, because nobody answers it while a leader is
    /// being elected, nor once there is one.
    pub(crate) async fn ask(
        &self,
        subject: impl Into<Subject>,
        payload: impl Into<Bytes>,
        patience: Duration,
    ) -> Answer {
        let (subject, payload) = (subject.into(), payload.into());
        let deadline = Instant::now() + patience;
        let mut asked = FuturesUnordered::new();
        let mut rest = AGAIN;
        loop {
            self.reached(deadline).await?;
            let slot = self.send(Line::Control, subject.clone(), None, payload.clone());
            asked.push(slot.answer(deadline.saturating_duration_since(Instant::now())));
            let again = (Instant::now() + rest).min(deadline);
            // An answer to an earlier question is as good.
            while let Ok(Some(answer)) = tokio::time::timeout_at(again, asked.next()).await {
                if !matches!(answer, Err(Lost::Unanswered)) {
                    return answer;
                }
            }
            if Instant::now() >= deadline {
                return Err(Lost::Unanswered);
            }
            rest *= 2;
        }
    }

    /// Waits until the server is reached.
    async fn reached(&self, deadline: Instant) -> Result<(), Lost> {
        match self.socket.until_up(deadline).await {
            Ok(_) => Ok(()),
            Err(_) if self.life.is_over() => Err(Lost::Closed),
            Err(_) => Err(Lost::Unsent),
        }
    }

    /// The most bytes of a message with its headers.
    pub(crate) fn most(&self) -> usize {
        self.socket.most().unwrap_or(1 << 20)
    }

    /// Nothing is answered any more.
    pub(crate) fn close(&self) {
        self.socket.close();
        self.slots.closed();
    }

    /// Answers that are waited for.
    pub(crate) fn outstanding(&self) -> usize {
        self.slots.len()
    }
}

/// Sends what waits in one line, in order.
async fn pump(link: Arc<Link>, mut queue: mpsc::UnboundedReceiver<Out>) {
    let mut waiting = Vec::with_capacity(AT_ONCE);
    let mut template = Template::default();
    let mut reply = format!("{}.", link.inbox);
    let inbox = reply.len();
    while queue.recv_many(&mut waiting, AT_ONCE).await > 0 {
        let Ok(client) = link.socket.client() else {
            return;
        };
        for Out { id, what } in waiting.drain(..) {
            reply.truncate(inbox);
            digits::push(&mut reply, id);
            let sent = match what {
                What::Ready(outgoing) => send(&link, &client, id, &reply, outgoing).await,
                What::Message(message) => match write(&link.keys, &mut template, &message) {
                    Ok(outgoing) => send(&link, &client, id, &reply, outgoing).await,
                    Err(refused) => Err(Lost::Refused(refused)),
                },
            };
            if let Err(lost) = sent {
                link.slots.answer(id, Err(lost));
            }
        }
    }
}

async fn send(
    link: &Link,
    client: &Client,
    id: u64,
    reply: &str,
    outgoing: Outgoing,
) -> Result<(), Lost> {
    let Outgoing {
        subject,
        headers,
        payload,
    } = outgoing;
    if !link.socket.reach().up {
        return Err(Lost::Unsent);
    }
    if !link.slots.sending(id, &subject) {
        return Ok(());
    }
    let most = client.max_payload();
    let bytes = payload.len() + headers.as_ref().map_or(0, wire_size);
    if bytes > most {
        return Err(Lost::TooLarge { bytes, most });
    }
    let reply = Subject::from(reply);
    let sent = match headers {
        Some(headers) => {
            let sending = client.publish_with_reply_and_headers(subject, reply, headers, payload);
            sending.await
        }
        None => client.publish_with_reply(subject, reply, payload).await,
    };
    sent.map_err(|_| Lost::Unsent)
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
