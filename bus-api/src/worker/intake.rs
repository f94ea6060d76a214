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
    /// Each owns its source until it gives something.
    pulls: Vec<ReusableBoxFuture<'static, (Source, Pulled)>>,
    /// Who is asked first, so that none starves the others.
    turn: usize,
    mode: Mode,
    stop: CancellationToken,
    ended: Vec<Source>,
}

impl Intake {
    pub(crate) fn new(sources: Vec<Source>, mode: Mode, stop: CancellationToken) -> Self {
        let pull = |source| ReusableBoxFuture::new(pull(source, mode, stop.clone()));
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

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Pulled> {
        for _ in 0..self.pulls.len() {
            self.turn = (self.turn + 1) % self.pulls.len();
            let Poll::Ready((source, pulled)) = self.pulls[self.turn].poll(cx) else {
                continue;
            };
            if matches!(pulled, Pulled::Ended(_)) {
                self.ended.push(source);
                drop(self.pulls.swap_remove(self.turn));
            } else {
                let next = pull(source, self.mode, self.stop.clone());
                self.pulls[self.turn].set(next);
            }
            return Poll::Ready(pulled);
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
            let (source, pulled) = pull.await;
            sources.push(source);
            given.push(pulled);
        }
        (sources, given)
    }
}

async fn pull(mut source: Source, mode: Mode, stop: CancellationToken) -> (Source, Pulled) {
    let pulled = tokio::select! {
        biased;
        pulled = source.pull(mode) => pulled,
        () = stop.cancelled() => Pulled::Stopped,
    };
    (source, pulled)
}

impl Source {
    /// Cancel safe.
    async fn pull(&mut self, mode: Mode) -> Pulled {
        match self {
            Self::Member(member) => match mode {
                Mode::OneByOne => given(member.next().await, Pulled::One),
                Mode::Batches(max, linger) => {
                    given(member.next_batch(max, linger).await, Pulled::Many)
                }
            },
            Self::Responder(responder) => match responder.next().await {
                Ok(request) => Pulled::Request(request, responder.replies.clone()),
                Err(error) => Pulled::Ended(Some(error)),
            },
        }
    }
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
