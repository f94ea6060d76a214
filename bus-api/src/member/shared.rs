//! What the consumer, the keeper and everything handed out share.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::confirmation::Confirmation;
use super::entry::{Entry, dead_letter};
use super::fetch::Fetch;
use super::judge::{Rules, Skipped, Verdict, judge};
use super::meters::Meters;
use super::options::{Decision, MemberOptions, Policy};
use super::state::State;
use super::wakes::Wakes;
use crate::client::Core;
use crate::clock;
use crate::contract::{
    AttemptRecord, Delivery, Failure, Inbound, Inflow, Message, Position, Receipt, Settlement,
    Settler,
};
use crate::error::{Error, Result};

/// What the consumer, the keeper and everything handed out share.
pub(super) struct Shared {
    state: Mutex<State>,
    fetch: Mutex<Fetch>,
    pub(super) settler: Arc<dyn Settler>,
    pub(super) lease: Duration,
    pub(super) rules: Rules,
    pub(super) policy: Policy,
    pub(super) meters: Meters,
    /// Failures are tried again inside the member.
    in_place: bool,
    /// Several messages of a key may be handed out together, in order.
    pub(super) followers: bool,
}

impl Shared {
    pub(super) fn new(options: MemberOptions, inbound: Inbound, core: &Core) -> Self {
        let in_place = options.retries_in_place();
        let subscription = options.spec.id();
        let group = subscription
            .as_ref()
            .map_or(crate::telemetry::BROADCAST_LABEL, |id| id.group.as_str());
        let meters = Meters::new(core, group);
        let mut state = State::new(
            subscription.is_some(),
            options.spec.max_in_flight,
            options.quarantine,
            meters.in_flight.clone(),
        );
        state.halted = inbound.paused.now();
        Self {
            state: Mutex::new(state),
            fetch: Mutex::new(Fetch::new(inbound.receiver)),
            settler: inbound.settler,
            lease: inbound.lease,
            meters,
            rules: Rules {
                subscription,
                max_attempts: options.max_attempts,
                on_expired: options.on_expired,
                skew: options.skew,
            },
            policy: options.policy,
            in_place,
            followers: !in_place,
        }
    }

    /// The state; whom it says to wake is woken once the lock is free again.
    pub(super) fn lock(&self) -> Locked<'_> {
        Locked {
            state: lock(&self.state),
            wakes: None,
        }
    }

    /// Receives up to `max` deliveries, or news, and puts them where they belong. Ready when something
    /// has changed; an empty answer is `false`.
    pub(super) fn poll_fetch(&self, cx: &mut Context<'_>, max: usize) -> Poll<bool> {
        // Consumer and keeper both fetch: locked until it is where it belongs, what one of them was given first
        // is not overtaken by what the other was given next.
        let mut fetch = lock(&self.fetch);
        let outcome = std::task::ready!(fetch.poll(cx, max));
        Poll::Ready(outcome.is_some_and(|outcome| self.received(outcome)))
    }

    /// Stops fetching for good, and hands back what was not handed out; returns how much that was.
    pub(super) fn stop(&self) -> usize {
        let mut fetch = lock(&self.fetch);
        let mut count = self.lock().stop();
        if let Some(Ok(Inflow::Deliveries(late))) = fetch.stop() {
            count += late.len();
            self.lock().hand_back_unseen(&late);
        }
        if count > 0 {
            self.meters.settled("hand_back", count);
        }
        count
    }

    /// Called with the fetch locked.
    fn received(&self, outcome: Result<Inflow>) -> bool {
        match outcome {
            Ok(Inflow::Deliveries(deliveries)) => {
                let some = !deliveries.is_empty();
                self.admit(deliveries);
                return some;
            }
            Ok(Inflow::Lost(receipts)) => self.lost(&receipts),
            Ok(Inflow::Reclaim { receipts, by: _ }) => {
                let gone = self.lock().reclaimed(&receipts);
                self.meters.settled("hand_back", gone);
            }
            Err(error) => self.lock().end(error),
        }
        true
    }

    /// Deliveries are no longer this member's.
    pub(super) fn lost(&self, receipts: &[Receipt]) {
        self.lock().lost(receipts);
        tracing::info!(
            target: "bus", group = self.meters.group(), lost = receipts.len(),
            "deliveries went to another member"
        );
    }

    /// Pauses fetching: what is fetched already is still handed out.
    pub(super) fn pause(&self) {
        self.lock().set_paused(true);
        self.give_up_fetching();
    }

    /// The subscription is paused or goes on, for all its members: while it is paused, what is fetched already
    /// stays here.
    pub(super) fn halt(&self, halted: bool) {
        self.lock().set_halted(halted);
        if halted {
            self.give_up_fetching();
        }
        tracing::info!(
            target: "bus", group = self.meters.group(), paused = halted,
            "the subscription was paused or resumed"
        );
    }

    fn give_up_fetching(&self) {
        let mut fetch = lock(&self.fetch);
        if let Some(outcome) = fetch.stop() {
            self.received(outcome);
        }
    }

    /// Judges what was received, and lets in what may be handed out.
    fn admit(&self, deliveries: Vec<Delivery>) {
        let mut state = self.lock();
        if state.stopped {
            // Whoever asked for them did not know yet.
            self.meters.settled("hand_back", deliveries.len());
            return state.hand_back_unseen(&deliveries);
        }
        for delivery in deliveries {
            match judge(&self.rules, &delivery, clock::now) {
                Verdict::Hand {
                    record,
                    mark,
                    suspect,
                } => {
                    state.admit(delivery, record, mark, suspect);
                }
                Verdict::Skip(why) => {
                    self.meters.settled(
                        match why {
                            Skipped::Foreign => "unseen",
                            Skipped::Expired => "expired",
                        },
                        1,
                    );
                    state.settle_unseen(delivery.receipt, Settlement::Ack);
                }
                Verdict::GiveUp { failure, record } => {
                    let settlement =
                        self.give_up(&delivery.message, &delivery.position, &record, failure);
                    state.settle_unseen(delivery.receipt, settlement);
                }
                Verdict::Stop(error) => {
                    state.end(error.with("position", &delivery.position));
                    break;
                }
            }
        }
    }

    /// The last of a message: a dead letter, or, for a broadcast, a line in the log.
    fn give_up(
        &self,
        message: &Arc<Message>,
        position: &Position,
        record: &AttemptRecord,
        failure: Failure,
    ) -> Settlement {
        let attempts = record.attempt() - 1;
        let (topic, id, kind) = (&message.topic, &message.metadata.id, &failure.kind);
        let Some(subscription) = &self.rules.subscription else {
            self.meters.settled("dropped", 1);
            tracing::warn!(
                target: "bus", %topic, %id, %kind, attempts, "a broadcast message is dropped"
            );
            return Settlement::Ack;
        };
        self.meters.settled("dead_letter", 1);
        tracing::warn!(
            target: "bus", %subscription, %topic, %id, %kind, attempts, "a message is given up"
        );
        let now = clock::now();
        let letter = dead_letter(subscription, message, position, record, failure, now);
        Settlement::DeadLetter(Box::new(letter))
    }

    /// A delivery that was handed out is handled.
    pub(super) fn ack(self: Arc<Self>, entry: &Entry, awaited: bool) -> Confirmation {
        self.meters.acked.increment(1);
        if self.rules.subscription.is_some() && self.settler.ack_at_once(entry.receipt) {
            let mut state = self.lock();
            state.returned();
            state.discard(entry);
            return Confirmation::known(Ok(()));
        }
        self.settle(entry, Settlement::Ack, awaited)
    }

    /// A delivery that was handed out failed.
    pub(super) fn fail(
        self: Arc<Self>,
        entry: &Entry,
        failure: Failure,
        decision: Decision,
        awaited: bool,
    ) -> Confirmation {
        let now: SystemTime = clock::now();
        let (after, failed, record) = match decision {
            Decision::DeadLetter => {
                let record = entry.record().failed(now);
                let settlement = self.give_up(&entry.message, &entry.position, &record, failure);
                return self.settle(entry, settlement, awaited);
            }
            Decision::Retry { after } => {
                self.meters.settled("retry", 1);
                tracing::debug!(
                    target: "bus", group = self.meters.group(), topic = %entry.message.topic,
                    id = %entry.message.metadata.id, kind = %failure.kind, ?after,
                    "a delivery failed and is tried again"
                );
                let failed = entry.record().failed(now);
                (after, failed, Some(failed))
            }
            Decision::Defer { after } => {
                self.meters.settled("defer", 1);
                (after, entry.record(), entry.unfinished())
            }
        };
        if self.rest(entry, failed, after) {
            return Confirmation::known(Ok(()));
        }
        self.settle(entry, Settlement::Requeue { after, record }, awaited)
    }

    /// A delivery that was handed out was not handled, and that is no failure.
    pub(super) fn hand_back(self: Arc<Self>, entry: &Entry) -> Confirmation {
        self.meters.settled("hand_back", 1);
        if self.rest(entry, entry.record(), Duration::ZERO) {
            return Confirmation::known(Ok(()));
        }
        self.settle(entry, Settlement::Release, true)
    }

    /// Keeps the delivery in the member for `after`, where that is this subscription's way.
    fn rest(&self, entry: &Entry, record: AttemptRecord, after: Duration) -> bool {
        if !self.in_place {
            return false;
        }
        let mut state = self.lock();
        if !state.may_rest(entry.slot) {
            return false;
        }
        // Further away than a clock reaches is never.
        let now = Instant::now();
        let at = now
            .checked_add(after)
            .unwrap_or(now + Duration::from_secs(u32::MAX.into()));
        state.returned();
        state.park(entry.with_record(record), at);
        true
    }

    fn settle(
        self: Arc<Self>,
        entry: &Entry,
        settlement: Settlement,
        awaited: bool,
    ) -> Confirmation {
        let settled = {
            let mut state = self.lock();
            state.returned();
            state.settle(entry, settlement, awaited)
        };
        match settled {
            Ok(Some(slot)) => Confirmation::awaited(self, slot),
            Ok(None) => Confirmation::known(Ok(())),
            Err(error) => Confirmation::known(Err(error)),
        }
    }

    /// Says why a settlement was refused, and counts it.
    pub(super) fn refused(&self, error: &Error) {
        self.meters.refused(error.kind());
        tracing::warn!(
            target: "bus", group = self.meters.group(), %error, "a settlement was refused"
        );
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The locked state; wakes whom it says to wake after unlocking: fields are dropped in this order.
pub(super) struct Locked<'a> {
    state: MutexGuard<'a, State>,
    wakes: Option<Wakes>,
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if !self.state.wakes.is_empty() {
            self.wakes = Some(std::mem::take(&mut self.state.wakes));
        }
    }
}
