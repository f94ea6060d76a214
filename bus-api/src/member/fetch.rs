//! The receiving half, driven by whoever polls it.

use std::fmt;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio_util::sync::ReusableBoxFuture;

use crate::contract::{Inflow, Receiver};
use crate::error::Result;

/// What a call of `receive` gave; nothing when it was given up.
type Outcome = Option<Result<Inflow>>;

/// The receiver and its running call. It owns the call, so that the consumer's future may be dropped at
/// any time, and whoever polled last is woken.
pub(super) struct Fetch {
    idle: Option<Box<dyn Receiver>>,
    call: ReusableBoxFuture<'static, (Option<Box<dyn Receiver>>, Outcome)>,
    /// How many the running call asked for.
    asked: usize,
    give_up: Arc<AtomicBool>,
    /// Where the call runs: it may be given up from anywhere, and later.
    runtime: Handle,
}

impl Fetch {
    /// To be called on the runtime.
    pub(super) fn new(receiver: Box<dyn Receiver>) -> Self {
        let give_up = Arc::new(AtomicBool::new(false));
        Self {
            call: ReusableBoxFuture::new(receive(None, 0, Arc::clone(&give_up))),
            idle: Some(receiver),
            asked: 0,
            give_up,
            runtime: Handle::current(),
        }
    }

    /// Waits for up to `max` deliveries or for news (`max` 0: for news only). `None` when the running call
    /// was given up or when the receiver is gone.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Outcome> {
        if let Some(receiver) = self.idle.take() {
            self.give_up.store(false, Ordering::Relaxed);
            self.asked = max;
            self.call
                .set(receive(Some(receiver), max, Arc::clone(&self.give_up)));
        } else if self.asked == 0 && max > 0 {
            self.give_up.store(true, Ordering::Relaxed);
        }
        self.finish(cx)
    }

    /// Gives the running call up and takes what it had ready, if anything.
    pub(super) fn stop(&mut self) -> Outcome {
        if self.idle.is_some() || self.has_runtime_ended() {
            return None;
        }
        let runtime = self.runtime.clone();
        let _timers = runtime.enter();
        self.give_up.store(true, Ordering::Relaxed);
        match self.finish(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => None,
        }
    }

    /// A runtime that has ended takes no task any more; a call that asks it for a timer would panic.
    fn has_runtime_ended(&self) -> bool {
        let probe = self.runtime.spawn(pending::<()>());
        let ended = probe.is_finished();
        probe.abort();
        ended
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let (receiver, outcome) = ready!(self.call.poll(cx));
        self.idle = receiver;
        // The finished call must not be polled again should the receiver be gone.
        if self.idle.is_none() {
            self.call.set(receive(None, 0, Arc::clone(&self.give_up)));
        }
        Poll::Ready(outcome)
    }
}

async fn receive(
    receiver: Option<Box<dyn Receiver>>,
    max: usize,
    give_up: Arc<AtomicBool>,
) -> (Option<Box<dyn Receiver>>, Outcome) {
    let Some(mut receiver) = receiver else {
        return (None, None);
    };
    let outcome = {
        let mut call = pin!(receiver.receive(max));
        std::future::poll_fn(|cx| match call.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if give_up.load(Ordering::Relaxed) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    };
    (Some(receiver), outcome)
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch")
            .field("running", &self.idle.is_none())
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}
