//! What is on its way and waits for an answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Message, StatusCode, Subject};
use bus_api::Error;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::Instant;

use crate::by_number::ByNumber;
use crate::error::{closed, denied, no_answer, too_large, unavailable};

/// Which of the two lines a message waits in: large payloads do not hold up the small ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Publishing.
    Data,
    /// Everything else.
    Control,
}

/// Why nothing came back.
#[derive(Clone, Debug)]
pub(crate) enum Lost {
    /// It was not sent: the server cannot be reached.
    Unsent,
    /// It was or may have been sent, and there is no answer.
    Unanswered,
    /// Nobody takes messages of this subject.
    NoResponders,
    /// The user may not send to this subject.
    Denied(String),
    /// It cannot be written.
    Refused(Error),
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
            Self::Refused(error) => error,
            Self::Denied(subject) => denied(&subject),
            Self::TooLarge { bytes, most } => too_large(bytes, most),
            Self::Closed => closed().indeterminate(),
        }
    }
}

pub(crate) type Answer = Result<Message, Lost>;

/// Whoever waits for an answer.
struct Waiting {
    answer: oneshot::Sender<Answer>,
    line: Line,
    /// When it was sent, and where to.
    sent: Option<(Instant, Subject)>,
    /// Nobody waits any more; it is sent all the same.
    given_up: bool,
}

/// Everything that waits for an answer.
#[derive(Default)]
pub(crate) struct Slots(Mutex<ByNumber<Waiting>>);

impl Slots {
    fn lock(&self) -> MutexGuard<'_, ByNumber<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody begins to wait.
    pub(crate) fn open(&self, id: u64, line: Line, answer: oneshot::Sender<Answer>) {
        let waiting = Waiting {
            answer,
            line,
            sent: None,
            given_up: false,
        };
        self.lock().insert(id, waiting);
    }

    pub(crate) fn answer(&self, id: u64, answer: Answer) {
        let waiting = self.lock().remove(&id);
        if let Some(waiting) = waiting {
            // Whoever does not wait any more does not want to know.
            let _ = waiting.answer.send(answer);
        }
    }

    /// Notes that it is sent now; false when whoever waited was told that it is not.
    pub(crate) fn sending(&self, id: u64, subject: &Subject) -> bool {
        let mut slots = self.lock();
        let Some(waiting) = slots.get_mut(&id) else {
            return false;
        };
        waiting.sent = Some((Instant::now(), subject.clone()));
        if waiting.given_up {
            slots.remove(&id);
        }
        true
    }

    /// Nobody waits for the answer any more.
    fn give_up(&self, id: u64) {
        let mut slots = self.lock();
        match slots.get_mut(&id) {
            Some(waiting) if waiting.sent.is_none() => waiting.given_up = true,
            _ => {
                slots.remove(&id);
            }
        }
    }

    /// The connection broke: no answer is on its way any more.
    pub(crate) fn broken(&self) {
        self.end(|waiting| {
            if waiting.sent.is_some() {
                Lost::Unanswered
            } else {
                Lost::Unsent
            }
        });
    }

    /// The connection was closed.
    pub(crate) fn closed(&self) {
        self.end(|_| Lost::Closed);
    }

    fn end(&self, why: impl Fn(&Waiting) -> Lost) {
        let all: Vec<Waiting> = self.lock().drain().map(|(_, waiting)| waiting).collect();
        for waiting in all {
            let lost = why(&waiting);
            let _ = waiting.answer.send(Err(lost));
        }
    }

    /// What was sent in this line at `before` or earlier and is not answered.
    pub(crate) fn unanswered(&self, line: Line, before: Instant) -> Vec<u64> {
        self.lock()
            .iter()
            .filter(|(_, waiting)| waiting.line == line)
            .filter(|(_, waiting)| {
                let sent = waiting.sent.as_ref();
                sent.is_some_and(|(at, _)| *at <= before)
            })
            .map(|(id, _)| *id)
            .collect()
    }

    /// Keeps of `ids` what is still not answered.
    pub(crate) fn retain_open(&self, ids: &mut Vec<u64>) {
        let slots = self.lock();
        ids.retain(|id| slots.contains_key(id));
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn denied(&self, subject: &str) {
        let mut slots = self.lock();
        let ids: Vec<u64> = slots
            .iter()
            .filter(|(_, waiting)| {
                let sent = waiting.sent.as_ref();
                sent.is_some_and(|(_, to)| **to == *subject)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Some(waiting) = slots.remove(&id) {
                let _ = waiting.answer.send(Err(Lost::Denied(subject.to_owned())));
            }
        }
    }
}

/// An answer that is waited for.
pub(crate) struct Slot {
    pub(crate) id: u64,
    slots: Arc<Slots>,
    answer: oneshot::Receiver<Answer>,
    /// The answer that was waited for, until it is taken. Few wait this way, and many slots lie in one place.
    heard: Option<Box<Answer>>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // What has an answer is forgotten already.
        if !self.answer.is_terminated() {
            self.slots.give_up(self.id);
        }
    }
}

impl Slot {
    pub(crate) fn new(id: u64, slots: Arc<Slots>, answer: oneshot::Receiver<Answer>) -> Self {
        Self {
            id,
            slots,
            answer,
            heard: None,
        }
    }

    /// Waits until there is an answer; says whether the server gave it. It is kept.
    pub(crate) async fn wait(&mut self) -> bool {
        if !self.answer.is_terminated() {
            let answer = (&mut self.answer).await;
            let answer = answer.unwrap_or(Err(Lost::Closed)).and_then(heard);
            self.heard = Some(Box::new(answer));
        }
        self.heard.as_ref().is_some_and(|heard| heard.is_ok())
    }

    /// Waits for the answer, at most so long.
    pub(crate) async fn answer(mut self, patience: Duration) -> Answer {
        // What is here already needs no timer.
        match self.answer.try_recv() {
            Ok(answer) => answer.and_then(heard),
            Err(TryRecvError::Closed) => {
                self.heard.take().map_or(Err(Lost::Closed), |heard| *heard)
            }
            Err(TryRecvError::Empty) => {
                // Without an answer in time there is none to take.
                let _ = tokio::time::timeout(patience, self.wait()).await;
                self.heard
                    .take()
                    .map_or(Err(Lost::Unanswered), |heard| *heard)
            }
        }
    }
}

fn heard(message: Message) -> Answer {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(Lost::NoResponders);
    }
    Ok(message)
}
