//! A received event and the token that settles it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::contract::{Failure, Headers, Message, Metadata, Position, Topic};
use crate::error::Result;
use crate::event::Envelope;
use crate::member::{Confirmation, Decision, Held};

/// An event that a [`Subscription`](crate::Subscription) handed out, and the duty to settle it.
///
/// Settling takes it by value, so that it cannot be settled twice. Dropped unsettled, it has failed, and the
/// retry policy of the subscription decides what follows.
#[derive(Debug)]
#[must_use = "dropped unsettled, it has failed"]
pub struct Received<E> {
    event: E,
    token: AckToken,
}

/// The duty to settle a received event, apart from it; see [`Received::into_parts`].
///
/// Dropped unsettled, the delivery has failed, and the retry policy of the subscription decides what
/// follows. While it is kept, the lease is renewed.
#[must_use = "dropped unsettled, the delivery has failed"]
pub struct AckToken(Held);

/// The broker's answer to settling.
///
/// Settling begins when the method is called and goes on when this is dropped; awaiting it says that the
/// broker has confirmed.
///
/// # Errors
/// `Fenced` when the delivery had gone to another member; `Closed` when the subscription was left before the
/// broker confirmed. A broker that is away is waited for.
#[must_use = "await it to know that the broker has confirmed, or drop it on purpose"]
#[derive(Debug)]
pub struct Settling(Confirmation);

impl Future for Settling {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<E> Received<E> {
    pub(super) fn new(event: E, held: Held) -> Self {
        Self {
            event,
            token: AckToken(held),
        }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &E {
        &self.event
    }

    /// The message as it came.
    #[must_use]
    pub fn message(&self) -> &Arc<Message> {
        self.token.message()
    }

    /// The CloudEvents attributes.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.message().metadata
    }

    /// Where it was published.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.message().topic
    }

    /// What orders it among others of its topic.
    #[must_use]
    pub fn key(&self) -> Option<&Bytes> {
        self.message().key.as_ref()
    }

    /// Application headers.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.message().headers
    }

    /// Where it lies in its log.
    #[must_use]
    pub fn position(&self) -> &Position {
        self.token.position()
    }

    /// 1 plus recorded failures and crashes.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.token.attempt()
    }

    /// Hand-overs as the broker counts them; informative only.
    #[must_use]
    pub fn delivery(&self) -> u32 {
        self.token.delivery()
    }

    /// The event with what came along, and the token apart from it.
    pub fn into_parts(self) -> (Envelope<E>, AckToken) {
        let message = self.token.message();
        let envelope = Envelope {
            event: self.event,
            metadata: message.metadata.clone(),
            topic: message.topic.clone(),
            key: message.key.clone(),
            headers: message.headers.clone(),
            position: self.token.position().clone(),
            attempt: self.token.attempt(),
            delivery: self.token.delivery(),
        };
        (envelope, self.token)
    }

    /// The bare event and the token apart from it.
    pub fn into_event(self) -> (E, AckToken) {
        (self.event, self.token)
    }

    /// As [`AckToken::ack`].
    pub fn ack(self) -> Settling {
        self.token.ack()
    }

    /// As [`AckToken::nack`].
    pub fn nack(self) -> Settling {
        self.token.nack()
    }

    /// As [`AckToken::nack_after`].
    pub fn nack_after(self, delay: Duration) -> Settling {
        self.token.nack_after(delay)
    }

    /// As [`AckToken::defer`].
    pub fn defer(self, delay: Duration) -> Settling {
        self.token.defer(delay)
    }

    /// As [`AckToken::dead_letter`].
    pub fn dead_letter(self, reason: impl AsRef<str>) -> Settling {
        self.token.dead_letter(reason)
    }
}

impl AckToken {
    /// The message as it came.
    #[must_use]
    pub fn message(&self) -> &Arc<Message> {
        self.0.message()
    }

    /// Where it lies in its log.
    #[must_use]
    pub fn position(&self) -> &Position {
        self.0.position()
    }

    /// 1 plus recorded failures and crashes.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt()
    }

    /// Hand-overs as the broker counts them; informative only.
    #[must_use]
    pub fn delivery(&self) -> u32 {
        self.0.delivery()
    }

    /// Handled: it never comes again to this subscription.
    pub fn ack(self) -> Settling {
        Settling(self.0.ack())
    }

    /// Failed: it comes again promptly, to any member of the subscription, as the next attempt. After the
    /// last attempt of the policy it is a dead letter.
    pub fn nack(self) -> Settling {
        self.nack_after(Duration::ZERO)
    }

    /// Failed, as [`nack`](Self::nack), and it does not come again before `delay` has passed.
    pub fn nack_after(self, delay: Duration) -> Settling {
        let decision = match self.0.policy() {
            Decision::DeadLetter => Decision::DeadLetter,
            Decision::Retry { .. } | Decision::Defer { .. } => Decision::Retry { after: delay },
        };
        self.fail("the delivery was refused (nack)", decision)
    }

    /// Not now: it comes again after `delay` as the same attempt.
    pub fn defer(self, delay: Duration) -> Settling {
        self.fail("deferred", Decision::Defer { after: delay })
    }

    /// Given up: a dead letter with `reason`, whatever attempts were left. A broadcast has no dead letters:
    /// there it is counted, logged and dropped.
    pub fn dead_letter(self, reason: impl AsRef<str>) -> Settling {
        self.fail(reason.as_ref(), Decision::DeadLetter)
    }

    fn fail(self, text: &str, decision: Decision) -> Settling {
        Settling(self.0.fail(Failure::new(Failure::HANDLER, text), decision))
    }
}

impl fmt::Debug for AckToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckToken")
            .field("position", self.position())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}
