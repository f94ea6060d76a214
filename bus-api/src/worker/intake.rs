//! Where a worker's deliveries and requests come from.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, ReusableBoxFuture};

use crate::contract::{IncomingRequest, RequestReceiver};
use crate::error::{Error, Result};
use crate::member::{Held, Member};
use crate::worker::answer::Replies;

/// What a source gave.
pub(crate) enum Pulled {
    One(Held),
    Many(Vec<Held>),
    Request(IncomingRequest, Replies),
    /// The source has ended.
    Ended(Option<Error>),
    /// The worker stops.
    Stopped,
}

/// A subscription or a responder.
pub(crate) enum Source {
    Member(Member),
    Responder(Responder),
}

/// The receiving half of a responder.
pub(crate) struct Responder {
    pub(crate) receiver: Box<dyn RequestReceiver>,
    pub(crate) replies: Replies,
    pub(crate) paused: watch::Receiver<bool>,
    /// Requests to ask for at once.
    pub(crate) most: usize,
    /// Received and not begun.
    pub(crate) waiting: VecDeque<IncomingRequest>,
}

/// How deliveries are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    OneByOne,
    /// Up to so many, the first of which waits at most so long.
    Batches(usize, Duration),
}

/// All sources of a worker, asked in turn.
pub(crate) struct Intake {
    pulls: Vec<Pull>,
    /// Who is asked first, so that none starves the others.
    turn: usize,
    mode: Mode,
    stop: CancellationToken,
    ended: Vec<Source>,
}

/// A source that is asked.
enum Pull {
    Member(Member),
    /// A running call, which owns the responder until it gives something.
    Responder(ReusableBoxFuture<'static, (Responder, Pulled)>),
}

impl Intake {
    pub(crate) fn new(sources: Vec<Source>, mode: Mode, stop: CancellationToken) -> Self {
        let pull = |source| match source {
            Source::Member(member) => Pull::Member(member),
            Source::Responder(responder) => {
                Pull::Responder(ReusableBoxFuture::new(pull(responder, stop.clone())))
            }
        };
        Self {
            pulls: sources.into_iter().map(pull).collect(),
            turn: 0,
            mode,
            stop,
            ended: Vec::new(),
        }
    }

    /// What the next source gives. Cancel safe.
    pub(crate) async fn next(&mut self) -> Pulled {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The same, for whoever waits for other things, too.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Pulled> {
        for _ in 0..self.pulls.len() {
            self.turn = (self.turn + 1) % self.pulls.len();
            let pulled = match &mut self.pulls[self.turn] {
                Pull::Member(member) => poll_member(member, self.mode, cx),
                Pull::Responder(call) => match call.poll(cx) {
                    Poll::Ready((responder, pulled @ Pulled::Ended(_))) => {
                        self.ended.push(Source::Responder(responder));
                        drop(self.pulls.swap_remove(self.turn));
                        return Poll::Ready(pulled);
                    }
                    Poll::Ready((responder, pulled)) => {
                        call.set(pull(responder, self.stop.clone()));
                        Poll::Ready(pulled)
                    }
                    Poll::Pending => Poll::Pending,
                },
            };
            if pulled.is_ready() {
                return pulled;
            }
        }
        if self.pulls.is_empty() {
            return Poll::Ready(Pulled::Stopped);
        }
        Poll::Pending
    }

    /// The sources, and what they gave meanwhile. `stop` has been cancelled before.
    pub(crate) async fn finish(self) -> (Vec<Source>, Vec<Pulled>) {
        let (mut sources, mut given) = (self.ended, Vec::new());
        for pull in self.pulls {
            match pull {
                Pull::Member(member) => sources.push(Source::Member(member)),
                Pull::Responder(call) => {
                    let (responder, pulled) = call.await;
                    sources.push(Source::Responder(responder));
                    given.push(pulled);
                }
            }
        }
        (sources, given)
    }
}

fn poll_member(member: &mut Member, mode: Mode, cx: &mut Context<'_>) -> Poll<Pulled> {
    match mode {
        Mode::OneByOne => member.poll_next(cx).map(|next| given(next, Pulled::One)),
        Mode::Batches(max, linger) => member
            .poll_batch(cx, max, linger)
            .map(|next| given(next, |batch| Pulled::Many(batch.collect()))),
    }
}

async fn pull(mut responder: Responder, stop: CancellationToken) -> (Responder, Pulled) {
    let pulled = tokio::select! {
        biased;
        received = responder.next() => match received {
            Ok(request) => Pulled::Request(request, responder.replies.clone()),
            Err(error) => Pulled::Ended(Some(error)),
        },
        () = stop.cancelled() => Pulled::Stopped,
    };
    (responder, pulled)
}

fn given<T>(next: Option<Result<T>>, wrap: impl FnOnce(T) -> Pulled) -> Pulled {
    match next {
        Some(Ok(given)) => wrap(given),
        Some(Err(error)) => Pulled::Ended(Some(error)),
        None => Pulled::Ended(None),
    }
}

impl Responder {
    /// Cancel safe.
    async fn next(&mut self) -> Result<IncomingRequest> {
        loop {
            if let Some(request) = self.waiting.pop_front() {
                return Ok(request);
            }
            // An error is a worker that is gone; then nobody asks.
            let _ = self.paused.wait_for(|paused| !paused).await;
            let mut paused = self.paused.clone();
            tokio::select! {
                biased;
                received = self.receiver.receive(self.most) => self.waiting.extend(received?),
                _ = paused.wait_for(|paused| *paused) => {}
            }
        }
    }
}
