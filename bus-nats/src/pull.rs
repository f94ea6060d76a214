//! Pulling messages of a consumer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use bus_api::Result;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;

use crate::api::nanos;
use crate::core::Core;
use crate::digits;
use crate::error::closed;

/// How often the server says that it has nothing.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// How long after a pull that ended early there is no other.
pub(crate) const REST: Duration = Duration::from_millis(50);
/// How long leaving waits for what the server has sent.
const QUIESCE: Duration = Duration::from_secs(2);

/// A promise of the server: up to so many messages until a time.
#[derive(Debug)]
struct Pull {
    number: u64,
    left: usize,
    ends: Instant,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Pulled {
    /// A message, with the subject that settles it.
    Message(Message),
    /// News of a pull; nothing to do.
    Nothing,
    /// A pull ended early; another one goes not before a while.
    Rest,
    /// The consumer is gone, or nobody serves it.
    Gone,
}

/// Pulls messages of one consumer over one subscription of an inbox.
#[derive(Debug)]
pub(crate) struct Puller {
    subscriber: Subscriber,
    /// The run of the server that is pulled from, by the id that it gave itself.
    pub(crate) server: Option<Arc<str>>,
    inbox: String,
    subject: String,
    number: u64,
    pulls: VecDeque<Pull>,
    heard: Instant,
    rest_until: Instant,
    expires: Duration,
    /// What came over this subscription.
    received: u64,
    /// When there was nothing to read, for the last time.
    empty_at: Instant,
}

/// Notes, however waiting ends, that there was nothing until then.
struct EmptyUntilNow<'a>(&'a mut Instant);

impl Drop for EmptyUntilNow<'_> {
    fn drop(&mut self) {
        *self.0 = Instant::now();
    }
}

impl Puller {
    /// Subscribes to an inbox of its own; nothing is pulled yet.
    pub(crate) async fn new(
        core: &Core,
        stream: &str,
        consumer: &str,
        expires: Duration,
    ) -> Result<Self> {
        let inbox = core.feed.client()?.new_inbox();
        Ok(Self {
            server: core.feed.server().map(|info| info.server_id.into()),
            subscriber: core.feed.subscribe(format!("{inbox}.*")).await?,
            inbox,
            subject: core.api_subject(&format!("CONSUMER.MSG.NEXT.{stream}.{consumer}")),
            number: 0,
            pulls: VecDeque::new(),
            heard: Instant::now(),
            rest_until: Instant::now(),
            expires,
            received: 0,
            empty_at: Instant::now(),
        })
    }

    fn outstanding(&self) -> usize {
        self.pulls.iter().map(|pull| pull.left).sum()
    }

    /// Asks for more when there is much more room than was asked for; `fetch` does not wait at the server.
    pub(crate) async fn top_up(&mut self, core: &Core, room: usize, fetch: bool) -> Result<()> {
        let now = Instant::now();
        self.pulls.retain(|pull| pull.ends > now);
        let outstanding = self.outstanding();
        if room == 0 || outstanding * 2 > room || self.rest_until > now || !core.feed.reach().up {
            return Ok(());
        }
        let batch = room - outstanding;
        self.number += 1;
        let question = if fetch {
            format!("{{\"batch\":{batch},\"no_wait\":true}}")
        } else {
            let (expires, heartbeat) =
                (nanos(self.expires), nanos(HEARTBEAT.min(self.expires / 3)));
            format!("{{\"batch\":{batch},\"expires\":{expires},\"idle_heartbeat\":{heartbeat}}}")
        };
        if self.pulls.is_empty() {
            self.heard = now;
        }
        self.pulls.push_back(Pull {
            number: self.number,
            left: batch,
            ends: now + self.expires + Duration::from_secs(1),
        });
        let reply = format!("{}.{}", self.inbox, self.number);
        core.feed
            .client()?
            .publish_with_reply(self.subject.clone(), reply, Bytes::from(question))
            .await
            .map_err(|_| closed())
    }

    /// When something has to be done if nothing comes until then.
    pub(crate) fn next_duty(&self) -> Option<Instant> {
        let silent = (!self.pulls.is_empty()).then(|| self.heard + HEARTBEAT * 2);
        let resting = (self.rest_until > Instant::now()).then_some(self.rest_until);
        let ends = self.pulls.front().map(|pull| pull.ends);
        [silent, resting, ends].into_iter().flatten().min()
    }

    /// Forgets pulls that the server seems to have forgotten.
    pub(crate) fn check_silence(&mut self) -> bool {
        let silent = !self.pulls.is_empty() && self.heard + HEARTBEAT * 2 <= Instant::now();
        if silent {
            self.pulls.clear();
        }
        silent
    }

    /// Waits for whatever comes next; none when the connection was closed.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        if let Some(message) = self.there() {
            return message;
        }
        let _empty = EmptyUntilNow(&mut self.empty_at);
        let message = self.subscriber.next().await;
        self.received += u64::from(message.is_some());
        message
    }

    /// What is there already.
    pub(crate) fn ready(&mut self) -> Option<Message> {
        self.there().flatten()
    }

    fn there(&mut self) -> Option<Option<Message>> {
        // A task whose turn has been long enough would be told that nothing is there.
        let found = tokio::task::unconstrained(self.subscriber.next()).now_or_never();
        match &found {
            Some(message) => self.received += u64::from(message.is_some()),
            None => self.empty_at = Instant::now(),
        }
        found
    }

    /// What is read now did not come before this: a driver that waits for a server reads late.
    pub(crate) fn came_after(&self) -> Instant {
        self.empty_at
    }

    /// Finds out what came.
    pub(crate) fn judge(&mut self, message: Message) -> Pulled {
        self.heard = Instant::now();
        let Some(status) = message.status else {
            // A message does not say which pull it belongs to: the oldest is served first.
            if let Some(pull) = self.pulls.front_mut() {
                pull.left -= 1;
                if pull.left == 0 {
                    self.pulls.pop_front();
                }
            }
            return Pulled::Message(message);
        };
        if status == StatusCode::IDLE_HEARTBEAT {
            return Pulled::Nothing;
        }
        let number = digits::last(&message.subject);
        self.pulls.retain(|pull| Some(pull.number) != number);
        let says = message.description.unwrap_or_default().to_ascii_lowercase();
        if status == StatusCode::NO_RESPONDERS || says.contains("consumer deleted") {
            self.pulls.clear();
            return Pulled::Gone;
        }
        if status == StatusCode::TIMEOUT
            || status == StatusCode::NOT_FOUND
            || says.contains("batch completed")
        {
            return Pulled::Nothing;
        }
        self.rest_until = Instant::now() + REST;
        Pulled::Rest
    }

    /// Whether a pull is open.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.pulls.is_empty()
    }

    /// Takes the interest away from the server without losing what it has sent: both sides stop after the
    /// same number of messages, and empty ones of our own make up the number.
    pub(crate) async fn quiesce(mut self, core: &Core) -> Vec<Message> {
        let mut found = Vec::new();
        let outstanding = self.outstanding() + self.pulls.len() * 2 + 8;
        let last = self.received + outstanding as u64;
        let Ok(client) = core.feed.client() else {
            return found;
        };
        if self.subscriber.unsubscribe_after(last).await.is_err() {
            return found;
        }
        let own = format!("{}.0", self.inbox);
        for _ in 0..outstanding {
            if client.publish(own.clone(), Bytes::new()).await.is_err() {
                return found;
            }
        }
        let deadline = Instant::now() + QUIESCE;
        while let Ok(Some(message)) = tokio::time::timeout_at(deadline, self.next()).await {
            if let Pulled::Message(message) = self.judge_last(message) {
                found.push(message);
            }
        }
        found
    }

    fn judge_last(&mut self, message: Message) -> Pulled {
        if message.reply.is_none() {
            return Pulled::Nothing;
        }
        match message.status {
            None => Pulled::Message(message),
            Some(_) => self.judge(message),
        }
    }
}
