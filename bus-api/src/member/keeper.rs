//! The one task of a member: it tells the broker what was settled, keeps the leases, and leaves.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, Stream};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::outbox::{Batch, Sendable};
use super::sending::{AGAIN, Answer, pausing, send};
use super::shared::Shared;
use super::state::{Closing, Demand};
use super::table::Slot;
use crate::client::Participant;
use crate::contract::{AttemptRecord, Paused, Receipt, Settlement};
use crate::error::{Error, ErrorKind, Result};

/// Batches that are on their way at the same time.
const MAX_OVERLAP: usize = 4;
/// Steps before other tasks get a turn.
const MAX_TURNS: usize = 64;
/// The longest time between two looks at what is held.
const LONGEST_BEAT: Duration = Duration::from_secs(1);
/// Leaving gets so much time even when the deadline has passed.
const LEAVE_GRACE: Duration = Duration::from_secs(1);

/// What was left when the member had left.
#[derive(Debug)]
pub(super) struct Farewell {
    pub(super) abandoned: usize,
    pub(super) unconfirmed: usize,
    pub(super) error: Option<Error>,
}

/// Keeps a member until it has left. `participant` says when the whole bus drains.
pub(super) async fn keep(
    shared: Arc<Shared>,
    paused: Paused,
    participant: Participant,
) -> Farewell {
    let mut keeper = Keeper::new(shared, paused, participant);
    keeper.run().await;
    keeper.leave().await
}

struct Keeper {
    shared: Arc<Shared>,
    jobs: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// Batches among the jobs.
    sending: usize,
    /// What failed and is sent again, with its time.
    again: Vec<(Instant, Sendable)>,
    /// Of these, whose time has come.
    due: Vec<Sendable>,
    timer: Pin<Box<Sleep>>,
    /// The next look at what is held, while anything is.
    beat: Option<Instant>,
    extend_at: Instant,
    extending: bool,
    /// The consumer is busy elsewhere, so that news are received here.
    watching: bool,
    /// When it gives up waiting for what is held.
    give_up_at: Option<Instant>,
    /// Here once the bus drains, among the jobs before.
    participant: Option<Participant>,
}

/// What there is to do.
enum Task {
    Send(Sendable),
    Leave,
    Nothing,
}

impl Keeper {
    fn new(shared: Arc<Shared>, paused: Paused, mut participant: Participant) -> Self {
        let now = Instant::now();
        let jobs = FuturesUnordered::<BoxFuture<'static, Answer>>::new();
        // Among the jobs it is looked at when it changes, not whenever something is settled.
        jobs.push(Box::pin(async move {
            participant.draining().await;
            Answer::Draining(participant)
        }));
        jobs.push(Box::pin(pausing(paused)));
        Self {
            shared,
            jobs,
            participant: None,
            sending: 0,
            again: Vec::new(),
            due: Vec::new(),
            timer: Box::pin(sleep_until(now)),
            beat: None,
            extend_at: now,
            extending: false,
            watching: false,
            give_up_at: None,
        }
    }

    /// Works until it is time to leave.
    async fn run(&mut self) {
        poll_fn(|cx| self.poll_run(cx)).await;
    }

    fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..MAX_TURNS {
            match self.look(cx) {
                Task::Send(batch) => self.send(cx, batch),
                Task::Leave => return Poll::Ready(()),
                Task::Nothing => match Pin::new(&mut self.jobs).poll_next(cx) {
                    Poll::Ready(Some(answer)) => self.answered(answer),
                    _ if self.poll_timer(cx) || self.poll_news(cx) => {}
                    _ => return Poll::Pending,
                },
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Finds out what to do next, and asks to be woken when there is nothing.
    fn look(&mut self, cx: &Context<'_>) -> Task {
        let mut state = self.shared.lock();
        if self.sending < MAX_OVERLAP
            && let Some(batch) = self.due.pop().or_else(|| state.outbox.take())
        {
            return Task::Send(batch);
        }
        if state.beating && self.beat.is_none() {
            let now = Instant::now();
            self.beat = Some(now + self.interval());
            self.extend_at = now + self.shared.lease / 3;
        }
        if state.closing != Closing::No {
            let waiting = state.handed() > 0;
            let done = !waiting && self.sending == 0 && self.again.is_empty();
            if state.closing == Closing::WhenSettled && !waiting {
                // Later the lease has freed everything anyway.
                state.closing = Closing::By(Instant::now() + self.shared.lease);
            }
            if let Closing::By(deadline) = state.closing {
                if done || deadline <= Instant::now() {
                    return Task::Leave;
                }
                self.give_up_at = Some(deadline);
            }
        }
        match &mut state.keeper {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Task::Nothing
    }

    /// The time between two looks at what is held.
    fn interval(&self) -> Duration {
        (self.shared.lease / 3).clamp(Duration::from_millis(1), LONGEST_BEAT)
    }

    fn send(&mut self, cx: &mut Context<'_>, batch: Sendable) {
        let mut job = send(Arc::clone(&self.shared.settler), batch);
        self.sending += 1;
        // A transport in the same process answers at once.
        match job.as_mut().poll(cx) {
            Poll::Ready(answer) => self.answered(answer),
            Poll::Pending => self.jobs.push(job),
        }
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Settled {
                slots,
                kept,
                tries,
                results,
            } => self.settled(&slots, kept, tries, results),
            Answer::Marked { batch, results } => self.marked(batch, results),
            Answer::Extended { receipts, results } => self.extended(&receipts, results),
            Answer::Pausing(paused, now) => {
                self.shared.halt(now);
                self.jobs.push(Box::pin(pausing(paused)));
            }
            Answer::Draining(participant) => {
                // What is held may still be settled; the stream ends, also when nobody reads it.
                self.participant = Some(participant);
                self.shared.stop();
                self.shared.lock().close_when_settled();
            }
        }
    }

    fn settled(
        &mut self,
        slots: &[Slot],
        kept: Vec<(usize, Settlement)>,
        tries: u32,
        results: Vec<Result<()>>,
    ) {
        self.sending -= 1;
        let mut again = Batch {
            tries: tries.saturating_add(1),
            ..Batch::default()
        };
        let mut kept = kept.into_iter().peekable();
        let mut results = results.into_iter();
        let mut refused = Vec::new();
        let mut state = self.shared.lock();
        for (index, &slot) in slots.iter().enumerate() {
            let settlement = kept
                .next_if(|(place, _)| *place == index)
                .map_or(Settlement::Ack, |(_, settlement)| settlement);
            let result = results.next().unwrap_or_else(|| Err(no_answer()));
            match (result, state.table.receipt(slot)) {
                (Err(error), Some(receipt)) if error.is_retryable() => {
                    again.push(slot, receipt, settlement);
                }
                (result, _) => {
                    refused.extend(result.as_ref().err().cloned());
                    state.confirmed(slot, result);
                }
            }
        }
        drop(state);
        refused.iter().for_each(|error| self.shared.refused(error));
        if !again.is_empty() {
            self.later(tries, Sendable::Settle(again));
        }
    }

    fn marked(&mut self, batch: Batch<AttemptRecord>, results: Vec<Result<()>>) {
        self.sending -= 1;
        let tries = batch.tries;
        let mut again = Batch {
            tries: tries.saturating_add(1),
            ..Batch::default()
        };
        let mut results = results.into_iter();
        for (slot, (receipt, record)) in batch.slots.into_iter().zip(batch.orders) {
            match results.next().unwrap_or_else(|| Err(no_answer())) {
                Err(error) if error.is_retryable() => again.push(slot, receipt, record),
                result => {
                    if let Err(error) = &result {
                        self.shared.refused(error);
                    }
                    self.shared.lock().marked(slot, &result);
                }
            }
        }
        if !again.is_empty() {
            self.later(tries, Sendable::Mark(again));
        }
    }

    fn later(&mut self, tries: u32, batch: Sendable) {
        let pause = AGAIN.delay(tries.saturating_add(1));
        self.again.push((Instant::now() + pause, batch));
    }

    fn extended(&mut self, receipts: &[Receipt], results: Vec<Result<()>>) {
        self.extending = false;
        let mut lost = Vec::new();
        for (receipt, result) in receipts.iter().zip(results) {
            match result {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Fenced => lost.push(*receipt),
                Err(error) => {
                    // The next beat comes well before the lease ends.
                    self.extend_at = Instant::now();
                    tracing::debug!(target: "bus", %error, "a lease was not renewed");
                }
            }
        }
        if !lost.is_empty() {
            self.shared.lost(&lost);
        }
    }

    /// Waits for the next point in time; true when something is to be done.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let again = self.again.iter().map(|(at, _)| *at).min();
        let times = [self.beat, again, self.give_up_at];
        let Some(next) = times.into_iter().flatten().min() else {
            return false;
        };
        if self.timer.deadline() != next {
            self.timer.as_mut().reset(next);
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        let now = Instant::now();
        let (due, waiting) = std::mem::take(&mut self.again)
            .into_iter()
            .partition::<Vec<_>, _>(|(at, _)| *at <= now);
        self.again = waiting;
        self.due.extend(due.into_iter().map(|(_, batch)| batch));
        if self.beat.is_some_and(|at| at <= now) {
            self.beat(now);
        }
        true
    }

    /// Looks at what is held: renews leases, and takes over receiving news from a busy consumer.
    fn beat(&mut self, now: Instant) {
        let mut state = self.shared.lock();
        let watched = std::mem::take(&mut self.watching);
        if watched {
            // Whoever received last is told of what comes. A consumer that is not busy but waits has to
            // take its turn again.
            state.wake_consumer();
        }
        if state.table.is_empty() {
            state.beating = false;
            self.beat = None;
            return;
        }
        self.watching = !std::mem::take(&mut state.polled);
        let leases = (self.extend_at <= now && !self.extending).then(|| state.table.leases());
        drop(state);
        if let Some(receipts) = leases.filter(|receipts| !receipts.is_empty()) {
            self.extend_at = now + self.shared.lease / 3;
            self.extending = true;
            let settler = Arc::clone(&self.shared.settler);
            self.jobs.push(Box::pin(async move {
                let results = settler.extend(&receipts).await;
                Answer::Extended { receipts, results }
            }));
        }
        self.beat = Some(now + self.interval());
    }

    /// Receives while the consumer does not; true when something has come.
    fn poll_news(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.watching {
            return false;
        }
        let demand = {
            let mut state = self.shared.lock();
            if state.stopped {
                self.watching = false;
                return false;
            }
            state.demand()
        };
        let max = match demand {
            Demand::Up(max) => max,
            Demand::From(_) | Demand::Nothing => 0,
        };
        match self.shared.poll_fetch(cx, max) {
            Poll::Pending => false,
            Poll::Ready(something) => {
                // An adapter without news may answer at once: not again before the next beat.
                self.watching = something || max > 0;
                // It may only have waited, for exactly this.
                self.shared.lock().wake_consumer();
                true
            }
        }
    }

    /// Leaves the subscription; what is not settled by now is not going to be.
    async fn leave(self) -> Farewell {
        let now = Instant::now();
        let (deadline, abandoned, unconfirmed) = {
            let mut state = self.shared.lock();
            let deadline = match state.closing {
                Closing::By(deadline) => deadline.max(now + LEAVE_GRACE),
                Closing::No | Closing::WhenSettled => now + LEAVE_GRACE,
            };
            let counts = (state.handed(), state.outbox.unconfirmed());
            state.close();
            (deadline, counts.0, counts.1)
        };
        let left = timeout_at(deadline, self.shared.settler.leave(deadline)).await;
        let error = match left {
            Ok(Ok(())) => None,
            // It was left already.
            Ok(Err(error)) if error.kind() == ErrorKind::Closed => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(Error::new(
                ErrorKind::Timeout,
                "the broker did not confirm in time that the subscription was left",
            )),
        };
        Farewell {
            abandoned,
            unconfirmed,
            error,
        }
    }
}

impl Drop for Keeper {
    /// Also when the runtime is shut down: nobody waits for an answer that cannot come.
    fn drop(&mut self) {
        self.shared.lock().close();
    }
}

fn no_answer() -> Error {
    Error::new(
        ErrorKind::Internal,
        "the adapter gave fewer answers than it was asked for",
    )
}
