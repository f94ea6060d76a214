//! One live participant of a subscription: what the core adds to an adapter's `Inbound`.
//!
//! The consumer ([`Member`]) pulls: it asks the adapter for as much as there are permits, judges what comes
//! and hands it out when its key's lane is free. One task for each member, the keeper, tells the broker what
//! was settled, keeps the leases and leaves at the end. Both share one lock; a message costs no task and no
//! channel of its own.

mod confirmation;
mod entry;
mod fetch;
mod flow;
mod handle;
mod held;
mod judge;
mod keeper;
mod lanes;
mod marking;
mod meters;
mod options;
mod outbox;
mod parked;
mod sending;
mod shared;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod wakes;

use std::collections::VecDeque;
use std::collections::vec_deque::Drain;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::task::coop::poll_proceed;
use tokio::time::{Instant, Sleep, sleep_until};

pub(crate) use confirmation::Confirmation;
pub(crate) use handle::MemberHandle;
pub(crate) use held::Held;
pub(crate) use options::{Decision, DrainReport, MemberOptions, OnExpired};

use self::entry::Entry;
use self::keeper::Farewell;
use self::marking::Marking;
use self::shared::Shared;
use self::state::{Closing, Demand};
use self::table::Fate;
use crate::client::Core;
use crate::error::{Error, ErrorKind, Result};

/// One live participant of a subscription.
///
/// Whoever has it keeps the [`Core`] too: with the last handle of a connection its members stop.
/// Dropped without [`drain`](Self::drain), it hands back what was never handed out, and its keeper leaves
/// the subscription once everything that is held is settled.
pub(crate) struct Member {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<Farewell>>,
    /// Taken out to be handed over; their marks may still have to be stored.
    staged: Vec<Entry>,
    marking: Option<Marking>,
    /// Handed over to a caller that has not picked them up.
    out: VecDeque<Held>,
    timer: Option<Pin<Box<Sleep>>>,
    linger: Option<Pin<Box<Sleep>>>,
}

impl Member {
    /// Joins: when this returns, every message published afterwards is delivered.
    ///
    /// # Errors
    /// `InvalidConfig` for a lease below the transport's minimum or a bound of zero; `Closed`; what the
    /// adapter says.
    pub(crate) async fn join(core: &Arc<Core>, options: MemberOptions) -> Result<Self> {
        check(core, &options)?;
        let participant = core.enter()?;
        let inbound = core.bus.subscribe(options.spec.clone()).await?;
        let paused = inbound.paused.clone();
        let shared = Arc::new(Shared::new(options, inbound, core));
        let keeper = tokio::spawn(keeper::keep(Arc::clone(&shared), paused, participant));
        Ok(Self {
            shared,
            keeper: Some(keeper),
            staged: Vec::new(),
            marking: None,
            out: VecDeque::new(),
            timer: None,
            linger: None,
        })
    }

    /// The next delivery: judged, its lane free, its started-mark written. `None` once the subscription
    /// has ended; an error ends it and comes once. Whoever polled last is woken.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Held>>> {
        loop {
            if let Some(held) = self.out.pop_front() {
                return Poll::Ready(Some(Ok(held)));
            }
            if let Some(end) = ready!(self.poll_fill(cx, 1, false)) {
                return Poll::Ready(end.map(Err));
            }
        }
    }

    /// A first delivery, then up to `max` of them or what has come when `linger` has passed. Without order
    /// across members, one batch may hold several deliveries of a key, in order. What was collected is
    /// here until the batch is complete.
    pub(crate) fn poll_batch(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        linger: Duration,
    ) -> Poll<Option<Result<Drain<'_, Held>>>> {
        let max = max.max(1);
        let mut over = false;
        while self.out.len() < max && !over {
            match self.poll_fill(cx, max - self.out.len(), true) {
                Poll::Ready(None) => {}
                Poll::Ready(Some(end)) if self.out.is_empty() => {
                    return Poll::Ready(end.map(Err));
                }
                // What was collected comes first; the end is told by the next call.
                Poll::Ready(Some(end)) => {
                    if let Some(error) = end {
                        self.shared.lock().ended = Some(error);
                    }
                    over = true;
                }
                Poll::Pending if self.out.is_empty() => return Poll::Pending,
                // While it is paused no more is added.
                Poll::Pending if linger.is_zero() || self.shared.lock().halted => over = true,
                Poll::Pending => {
                    let sleep = self
                        .linger
                        .get_or_insert_with(|| Box::pin(tokio::time::sleep(linger)));
                    ready!(sleep.as_mut().poll(cx));
                    over = true;
                }
            }
        }
        self.linger = None;
        let count = self.out.len().min(max);
        Poll::Ready(Some(Ok(self.out.drain(..count))))
    }

    /// Adds at least one and up to `max` deliveries to `out` (`None`), or says that the end has come
    /// (`Some`), with its reason when it was not on purpose.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        batch: bool,
    ) -> Poll<Option<Option<Error>>> {
        // Whoever takes and settles one after the other may never wait: within tokio's budget for one task, so that
        // the keeper and everybody else run, too.
        let budget = ready!(poll_proceed(cx));
        loop {
            if !self.staged.is_empty() {
                if self.marking.is_none() {
                    self.marking = Marking::start(&self.shared, &self.staged);
                }
                if let Some(marking) = &mut self.marking {
                    let results = ready!(marking.poll(cx));
                    self.marking = None;
                    self.marked(results);
                }
                if self.hand_over() {
                    budget.made_progress();
                    return Poll::Ready(None);
                }
            }
            let (demand, due) = {
                let mut state = self.shared.lock();
                state.polled = true;
                if state
                    .flow
                    .next_due()
                    .is_some_and(|due| due <= Instant::now())
                {
                    state.flow.wake_due(Instant::now());
                }
                let before = self.out.len();
                let followers = batch && self.shared.followers;
                if !state.halted && state.flow.is_ready() {
                    state.flow.take(max, followers, |entry| {
                        if entry.mark || !self.staged.is_empty() {
                            self.staged.push(entry);
                        } else {
                            let held = Held::new(Arc::clone(&self.shared), entry);
                            self.out.push_back(held);
                        }
                    });
                }
                let handed = self.out.len() - before;
                if handed > 0 {
                    state.hand_over(handed);
                    // It waits no longer: what happens from here on is there when it asks again.
                    state.consumer = None;
                    drop(state);
                    self.shared.meters.delivered.increment(handed as u64);
                    budget.made_progress();
                    return Poll::Ready(None);
                }
                if !self.staged.is_empty() {
                    continue;
                }
                if state.stopped {
                    return Poll::Ready(Some(state.ended.take()));
                }
                match &mut state.consumer {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                (state.demand(), state.flow.next_due())
            };
            let wake_at = match demand {
                Demand::Up(max) if self.shared.poll_fetch(cx, max).is_ready() => continue,
                Demand::From(at) => Some(due.map_or(at, |due| due.min(at))),
                Demand::Up(_) | Demand::Nothing => due,
            };
            if !self.poll_timer(cx, wake_at) {
                return Poll::Pending;
            }
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> bool {
        let Some(at) = at else { return false };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx).is_ready()
    }

    /// Hands over what is staged; false when there is nothing.
    fn hand_over(&mut self) -> bool {
        let before = self.out.len();
        let mut redelivered = 0;
        let mut state = self.shared.lock();
        for entry in self.staged.drain(..) {
            match state.table.fate(entry.slot) {
                Fate::Lost => state.discard(&entry),
                Fate::Ours if !state.stopped => {
                    redelivered += u64::from(entry.mark);
                    state.hand_over(1);
                    self.out
                        .push_back(Held::new(Arc::clone(&self.shared), entry));
                }
                Fate::Ours | Fate::Reclaimed => state.release_one(&entry, None),
            }
        }
        drop(state);
        let count = self.out.len() - before;
        self.shared.meters.delivered.increment(count as u64);
        if redelivered > 0 {
            self.shared.meters.redelivered.increment(redelivered);
        }
        count > 0
    }

    /// The answers to the started-marks of what is staged: what has none does not start.
    fn marked(&mut self, results: Vec<Result<()>>) {
        let mut results = results.into_iter();
        let shared = &self.shared;
        self.staged.retain_mut(|entry| {
            if !entry.mark || entry.marked {
                return true;
            }
            match results.next() {
                Some(Ok(())) => {
                    entry.marked = true;
                    true
                }
                Some(Err(error)) => {
                    shared.refused(&error);
                    shared.lock().discard(entry);
                    false
                }
                None => {
                    shared.lock().discard(entry);
                    false
                }
            }
        });
    }

    /// Controls it from elsewhere.
    pub(crate) fn handle(&self) -> MemberHandle {
        MemberHandle::new(&self.shared)
    }

    /// Stops fetching for good and hands back what was never handed out; `next` returns `None` from now
    /// on. Returns how many were handed back. What is held stays held, and its lease is kept.
    pub(crate) fn stop(&mut self) -> usize {
        let mut count = self.shared.stop();
        self.marking = None;
        let mut state = self.shared.lock();
        for mut entry in self.staged.drain(..) {
            // Whether its mark was stored is not known any more.
            entry.marked = entry.mark;
            state.release_one(&entry, None);
            count += 1;
        }
        drop(state);
        // Handed over, but nobody has seen them.
        for held in self.out.drain(..) {
            count += 1;
            drop(held.hand_back());
        }
        count
    }

    /// Stops, waits until everything held is settled and confirmed, at most until `deadline`, and
    /// leaves the subscription.
    ///
    /// Not cancel safe: dropped, it goes on as if the member was dropped.
    pub(crate) async fn drain(mut self, deadline: Instant) -> DrainReport {
        let handed_back = self.stop();
        {
            let mut state = self.shared.lock();
            state.closing = Closing::By(deadline);
            state.wake_keeper();
        }
        let farewell = match &mut self.keeper {
            Some(keeper) => keeper.await,
            None => return DrainReport::default(),
        };
        self.keeper = None;
        match farewell {
            Ok(farewell) => DrainReport {
                handed_back,
                abandoned: farewell.abandoned,
                unconfirmed: farewell.unconfirmed,
                error: farewell.error,
            },
            Err(error) => DrainReport {
                handed_back,
                error: Some(
                    Error::new(ErrorKind::Closed, "the member's task ended early").caused_by(error),
                ),
                ..DrainReport::default()
            },
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.keeper.is_some() {
            self.stop();
            let mut state = self.shared.lock();
            state.close_when_settled();
            state.wake_keeper();
        }
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").finish_non_exhaustive()
    }
}

fn check(core: &Core, options: &MemberOptions) -> Result<()> {
    let invalid = |message: &'static str| Error::new(ErrorKind::InvalidConfig, message);
    if options.spec.lease < core.capabilities.min_lease {
        return Err(invalid("the lease is shorter than this transport allows")
            .with("lease", format!("{:?}", options.spec.lease))
            .with("min_lease", format!("{:?}", core.capabilities.min_lease)));
    }
    if options.spec.max_in_flight == 0 || options.max_attempts == 0 {
        return Err(invalid(
            "`max_in_flight` and the number of attempts are at least 1",
        ));
    }
    Ok(())
}
