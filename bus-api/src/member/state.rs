//! What the parts of a member share under one lock, and what every event does to it.

use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::entry::Entry;
use super::flow::Flow;
use super::meters::InFlight;
use super::options::MAX_UNCONFIRMED;
use super::outbox::Outbox;
use super::table::{Fate, Slot, Table};
use super::wakes::Wakes;
use crate::contract::{AttemptRecord, Delivery, Receipt, Settlement};
use crate::error::{Error, ErrorKind, Result};

/// How long a few free permits wait for more to become free, so that they are fetched together.
const GATHER: Duration = Duration::from_millis(2);

/// What the parts of a member share: its consumer, its keeper, and what it has handed out.
#[derive(Debug)]
pub(super) struct State {
    pub(super) flow: Flow,
    pub(super) table: Table,
    pub(super) outbox: Outbox,
    /// The subscription stores records and settlements; a broadcast does not.
    durable: bool,
    max_in_flight: usize,
    /// Received, and settling not requested yet.
    outstanding: usize,
    /// Of these, handed over.
    handed: usize,
    /// The user or the breaker holds fetching back.
    paused: bool,
    /// An operator has paused the subscription: nothing is handed out, whatever was fetched.
    pub(super) halted: bool,
    /// Nothing is fetched any more.
    pub(super) stopped: bool,
    pub(super) closing: Closing,
    /// The keeper is gone: nothing can be settled any more.
    closed: bool,
    /// Why the subscription ended, until the consumer has been told.
    pub(super) ended: Option<Error>,
    /// The consumer has asked since the keeper last looked.
    pub(super) polled: bool,
    /// The keeper's timer runs, or is about to.
    pub(super) beating: bool,
    gather_until: Option<Instant>,
    pub(super) consumer: Option<Waker>,
    pub(super) keeper: Option<Waker>,
    in_flight: InFlight,
    /// Whom to wake once the lock is free.
    pub(super) wakes: Wakes,
}

/// How far the end of a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// It lives.
    No,
    /// It was dropped: it leaves when the last delivery is settled.
    WhenSettled,
    /// It drains: it leaves when the last delivery is settled, or then.
    By(Instant),
}

/// How much to ask the adapter for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Nothing at all.
    Nothing,
    /// Nothing before then, unless more permits become free.
    From(Instant),
    /// So many deliveries, or news.
    Up(usize),
}

impl Drop for State {
    /// What was never settled is not held any more, either.
    fn drop(&mut self) {
        self.in_flight.leave(self.outstanding);
    }
}

impl State {
    pub(super) fn new(
        durable: bool,
        max_in_flight: usize,
        quarantine: bool,
        in_flight: InFlight,
    ) -> Self {
        Self {
            flow: Flow::new(quarantine),
            table: Table::new(),
            outbox: Outbox::default(),
            durable,
            max_in_flight,
            outstanding: 0,
            handed: 0,
            paused: false,
            halted: false,
            stopped: false,
            closing: Closing::No,
            closed: false,
            ended: None,
            polled: false,
            beating: false,
            gather_until: None,
            consumer: None,
            keeper: None,
            in_flight,
            wakes: Wakes::default(),
        }
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    pub(super) fn handed(&self) -> usize {
        self.handed
    }

    /// Everything that was received is settled, and the broker has confirmed it.
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding == 0 && self.outbox.unconfirmed() == 0
    }

    pub(super) fn wake_consumer(&mut self) {
        if let Some(waker) = self.consumer.take() {
            self.wakes.consumer(waker);
        }
    }

    pub(super) fn wake_keeper(&mut self) {
        if let Some(waker) = self.keeper.take() {
            self.wakes.keeper(waker);
        }
    }

    /// The member leaves once everything that was handed out is settled, unless it was told when to.
    pub(super) fn close_when_settled(&mut self) {
        if self.closing == Closing::No {
            self.closing = Closing::WhenSettled;
        }
    }

    pub(super) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
        self.wake_consumer();
    }

    pub(super) fn set_halted(&mut self, halted: bool) {
        self.halted = halted;
        self.wake_consumer();
    }

    /// How much may be fetched now.
    pub(super) fn demand(&mut self) -> Demand {
        let free = self.max_in_flight.saturating_sub(self.outstanding);
        let room = MAX_UNCONFIRMED.saturating_sub(self.outbox.unconfirmed());
        let open = free.min(room);
        if self.stopped || self.paused {
            return Demand::Nothing;
        }
        if self.halted {
            // It may be deleted meanwhile, or what is held may go to another member.
            return Demand::Up(0);
        }
        if open == 0 {
            return Demand::Nothing;
        }
        // A round trip per message is slow on every broker: a few permits are worth it only when
        // nothing else is going on, or when no more become free.
        let enough = (self.max_in_flight / 4).clamp(1, 8);
        if open >= enough || self.outstanding == 0 {
            self.gather_until = None;
            return Demand::Up(open);
        }
        let now = Instant::now();
        let until = *self.gather_until.get_or_insert(now + GATHER);
        if until <= now {
            Demand::Up(open)
        } else {
            Demand::From(until)
        }
    }

    /// A delivery that may be handed out was received: it takes a permit and goes its way.
    pub(super) fn admit(
        &mut self,
        delivery: Delivery,
        record: AttemptRecord,
        mark: bool,
        suspect: bool,
    ) {
        let slot = self.table.insert(delivery.receipt);
        self.outstanding += 1;
        self.in_flight.enter();
        self.gather_until = None;
        let mut entry = Entry::new(slot, delivery, record);
        (entry.mark, entry.suspect) = (mark, suspect);
        self.flow.enter(entry);
        if self.durable && !self.beating {
            self.beating = true;
            self.wake_keeper();
        }
    }

    /// A delivery that no handler sees is settled at once.
    pub(super) fn settle_unseen(&mut self, receipt: Receipt, settlement: Settlement) {
        if self.durable {
            let slot = self.table.insert(receipt);
            self.request(slot, receipt, settlement, false);
        }
    }

    /// Deliveries that came too late go back.
    pub(super) fn hand_back_unseen(&mut self, late: &[Delivery]) {
        for delivery in late {
            self.settle_unseen(delivery.receipt, Settlement::Release);
        }
    }

    /// Whether what was handed out may be tried again in place.
    pub(super) fn may_rest(&self, slot: Slot) -> bool {
        !self.stopped && self.table.fate(slot) == Fate::Ours
    }

    /// What was handed out is no longer held.
    pub(super) fn returned(&mut self) {
        self.handed = self.handed.saturating_sub(1);
        if self.handed == 0 && self.closing != Closing::No {
            self.wake_keeper();
        }
    }

    /// What is taken out of the flow is handed out.
    pub(super) fn hand_over(&mut self, count: usize) {
        self.handed += count;
    }

    /// Requests settling: permit and lane are free from now on. The answer comes later if this returns
    /// a slot.
    pub(super) fn settle(
        &mut self,
        entry: &Entry,
        settlement: Settlement,
        awaited: bool,
    ) -> Result<Option<Slot>> {
        self.free(entry);
        if self.closed {
            self.table.remove(entry.slot);
            return Err(closed());
        }
        if !self.durable {
            self.table.remove(entry.slot);
            return Ok(None);
        }
        self.request(entry.slot, entry.receipt, settlement, awaited);
        Ok(awaited.then_some(entry.slot))
    }

    fn request(&mut self, slot: Slot, receipt: Receipt, settlement: Settlement, awaited: bool) {
        self.table.settling(slot, awaited);
        self.outbox.settle(slot, receipt, settlement);
        self.wake_keeper();
    }

    /// Gives permit and lane back.
    fn free(&mut self, entry: &Entry) {
        if let Some(left) = self.outstanding.checked_sub(1) {
            self.outstanding = left;
            self.in_flight.leave(1);
        }
        self.flow.leave_lane(entry.lane);
        self.advanced();
    }

    /// Wakes the consumer when there may be something for it now.
    fn advanced(&mut self) {
        if self.consumer.is_some()
            && !self.halted
            && (self.flow.is_ready() || (self.max_in_flight > self.outstanding && !self.paused))
        {
            self.wake_consumer();
        }
    }

    /// Forgets what is settled already, or is not going to be.
    pub(super) fn discard(&mut self, entry: &Entry) {
        self.table.remove(entry.slot);
        self.flow.confirmed(entry.slot);
        self.free(entry);
    }

    /// Parks what failed and is tried again in place, and stores its record.
    pub(super) fn park(&mut self, mut entry: Entry, at: Instant) {
        let (slot, receipt, record) = (entry.slot, entry.receipt, entry.record());
        let unfinished = entry.unfinished();
        (entry.marked, entry.mark) = (false, self.durable);
        entry.suspect = self.durable && record.crashes > 0;
        self.flow.park(entry, at);
        if let Some(record) = unfinished.filter(|_| self.durable) {
            self.outbox.mark(slot, receipt, record);
            self.wake_keeper();
        } else {
            self.flow.stored(slot);
        }
        self.wake_consumer();
    }

    /// The answer to a mark that [`park`](Self::park) asked for.
    pub(super) fn marked(&mut self, slot: Slot, result: &Result<()>) {
        match result {
            Ok(()) => self.flow.stored(slot),
            Err(_) => {
                if let Some(entry) = self.flow.unpark(slot) {
                    self.discard(&entry);
                }
            }
        }
        self.wake_consumer();
    }

    /// The answer to a settlement.
    pub(super) fn confirmed(&mut self, slot: Slot, result: Result<()>) {
        self.outbox.confirmed();
        let waker = self.table.settled(slot, result);
        self.wakes.push(waker);
        self.flow.confirmed(slot);
        self.advanced();
    }

    /// Deliveries are no longer this member's: those that wait are forgotten.
    pub(super) fn lost(&mut self, receipts: &[Receipt]) {
        self.table.set_fate(receipts, Fate::Lost);
        let removed = self.flow.remove(|entry| receipts.contains(&entry.receipt));
        for (_, entry) in &removed {
            self.discard(entry);
        }
    }

    /// Deliveries are about to go to another member: those that wait are released.
    pub(super) fn reclaimed(&mut self, receipts: &[Receipt]) -> usize {
        self.table.set_fate(receipts, Fate::Reclaimed);
        self.release(|entry| receipts.contains(&entry.receipt))
    }

    /// Releases whatever waits and is `unwanted`.
    fn release(&mut self, unwanted: impl Fn(&Entry) -> bool) -> usize {
        let removed = self.flow.remove(unwanted);
        for (until, entry) in &removed {
            self.release_one(entry, *until);
        }
        removed.len()
    }

    /// Releases one that no handler is at; what rests goes on resting elsewhere.
    pub(super) fn release_one(&mut self, entry: &Entry, until: Option<Instant>) {
        let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
        let settlement = match rest {
            Some(after) if !after.is_zero() => Settlement::Requeue {
                after,
                record: entry.unfinished(),
            },
            _ => Settlement::Release,
        };
        // Nobody waits for the answer, so there is none to lose.
        let _ = self.settle(entry, settlement, false);
    }

    /// Stops fetching for good and releases whatever was not handed out.
    pub(super) fn stop(&mut self) -> usize {
        if std::mem::replace(&mut self.stopped, true) {
            return 0;
        }
        self.wake_consumer();
        self.release(|_| true)
    }

    /// The subscription has ended: what waits is left as it is.
    pub(super) fn end(&mut self, error: Error) {
        self.stopped = true;
        for (_, entry) in self.flow.remove(|_| true) {
            self.discard(&entry);
        }
        self.ended.get_or_insert(error);
        self.wake_consumer();
    }

    /// Nothing can be settled any more: whoever waits for an answer is told so.
    pub(super) fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        if !self.stopped {
            self.end(closed());
        }
        let waiting = self.table.settle_all(&Err(closed()));
        for waker in waiting {
            self.wakes.push(Some(waker));
        }
    }
}

fn closed() -> Error {
    Error::new(
        ErrorKind::Closed,
        "the subscription was left before the broker confirmed; the message may come again",
    )
}
