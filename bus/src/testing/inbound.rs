//! The recorder's halves of a subscription.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bus_api::{
    AttemptRecord, DeadLetter, Delivery, Group, Inbound, Inflow, Message, Pattern, Receipt,
    Receiver, Result, Settlement, Settler, SubscriptionId,
};
use tokio::time::Instant;

use super::book::Book;
use super::faults::{Faults, Operation};
use super::outcome::{Ending, Outcome};
use super::recorder::Recorder;

/// Records what a member of `group` receives and how it settles.
pub(super) fn group(
    inner: Inbound,
    group: Group,
    pattern: Pattern,
    recorder: &Recorder,
) -> Inbound {
    let held = Arc::new(Held::default());
    Inbound {
        receiver: Box::new(GroupReceiver {
            inner: inner.receiver,
            held: Arc::clone(&held),
        }),
        settler: Arc::new(GroupSettler {
            inner: inner.settler,
            subscription: SubscriptionId::new(group, pattern),
            held,
            book: Arc::clone(&recorder.book),
            faults: Arc::clone(&recorder.faults),
        }),
        lease: inner.lease,
        paused: inner.paused,
    }
}

/// Records how much a broadcast subscriber receives.
pub(super) fn broadcast(inner: Inbound, pattern: Pattern, recorder: &Recorder) -> Inbound {
    let book = Arc::clone(&recorder.book);
    let id = book.write(|entries| entries.broadcast_joins(pattern));
    Inbound {
        receiver: Box::new(BroadcastReceiver {
            inner: inner.receiver,
            id,
            handed_over: 0,
            book,
        }),
        settler: inner.settler,
        lease: inner.lease,
        paused: inner.paused,
    }
}

/// What a member has received and not settled.
#[derive(Default)]
struct Held(Mutex<HashMap<Receipt, (Arc<Message>, AttemptRecord)>>);

impl Held {
    fn keep(&self, delivery: &Delivery) {
        let record = delivery
            .record
            .as_deref()
            .and_then(|record| AttemptRecord::decode(record).ok());
        let kept = (Arc::clone(&delivery.message), record.unwrap_or_default());
        self.edit(|held| held.insert(delivery.receipt, kept));
    }

    fn edit<T>(
        &self,
        change: impl FnOnce(&mut HashMap<Receipt, (Arc<Message>, AttemptRecord)>) -> T,
    ) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct GroupReceiver {
    inner: Box<dyn Receiver>,
    held: Arc<Held>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Receiver for GroupReceiver {
    async fn receive(&mut self, max: usize) -> Result<Inflow> {
        let inflow = self.inner.receive(max).await?;
        match &inflow {
            Inflow::Deliveries(deliveries) => deliveries
                .iter()
                .for_each(|delivery| self.held.keep(delivery)),
            Inflow::Lost(receipts) => self.held.edit(|held| {
                for receipt in receipts {
                    held.remove(receipt);
                }
            }),
            Inflow::Reclaim { .. } => {}
        }
        Ok(inflow)
    }
}

struct GroupSettler {
    inner: Arc<dyn Settler>,
    subscription: SubscriptionId,
    held: Arc<Held>,
    book: Arc<Book>,
    faults: Arc<Faults>,
}

/// A settlement that is under way.
struct Settling {
    receipt: Receipt,
    ending: Ending,
    dead_letter: Option<DeadLetter>,
}

impl GroupSettler {
    fn settling(&self, receipt: Receipt, settlement: &Settlement) -> Settling {
        let failures = self
            .held
            .edit(|held| held.get(&receipt).map_or(0, |(_, record)| record.failures));
        let (ending, dead_letter) = match settlement {
            Settlement::Ack => (Ending::Handled, None),
            Settlement::Release => (Ending::HandedBack, None),
            Settlement::Requeue {
                record: Some(record),
                ..
            } if record.failures > failures => (Ending::Failed, None),
            Settlement::Requeue { .. } => (Ending::Deferred, None),
            Settlement::DeadLetter(letter) => (
                Ending::DeadLettered(letter.error.clone()),
                Some(DeadLetter::clone(letter)),
            ),
        };
        Settling {
            receipt,
            ending,
            dead_letter,
        }
    }

    /// The outcome, unless the message was a redriven copy that is meant for another subscription.
    fn outcome(&self, message: &Message, record: AttemptRecord, ending: Ending) -> Option<Outcome> {
        let mine = |target: &SubscriptionId| *target == self.subscription;
        message
            .targeted
            .as_ref()
            .is_none_or(|targeted| mine(&targeted.subscription))
            .then(|| Outcome {
                group: self.subscription.group.clone(),
                pattern: self.subscription.pattern.clone(),
                topic: message.topic.clone(),
                event_type: message.metadata.event_type.clone(),
                id: message.metadata.id.clone(),
                attempt: record.attempt(),
                ending,
            })
    }

    fn settled(&self, settling: Settling) {
        let Some((message, record)) = self.held.edit(|held| held.remove(&settling.receipt)) else {
            return;
        };
        let outcome = self.outcome(&message, record, settling.ending);
        self.book.write(|entries| {
            entries.outcomes.extend(outcome);
            entries.dead_letters.extend(settling.dead_letter);
        });
    }

    /// With order per key a failure is recorded in place, without settling.
    fn marked(&self, receipt: Receipt, record: AttemptRecord) {
        let failed = self.held.edit(|held| {
            let (message, before) = held.get_mut(&receipt)?;
            let failed = record.failures > before.failures;
            let before = std::mem::replace(before, record);
            failed.then(|| (Arc::clone(message), before))
        });
        if let Some((message, before)) = failed {
            let outcome = self.outcome(&message, before, Ending::Failed);
            self.book.write(|entries| entries.outcomes.extend(outcome));
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Settler for GroupSettler {
    async fn settle(&self, batch: Vec<(Receipt, Settlement)>) -> Vec<Result<()>> {
        self.faults.latency(Operation::Settle).await;
        let checks: Vec<_> = batch
            .iter()
            .map(|_| self.faults.check(Operation::Settle))
            .collect();
        let passed: Vec<_> = batch
            .into_iter()
            .zip(&checks)
            .filter_map(|(settlement, check)| check.is_ok().then_some(settlement))
            .collect();
        let settling: Vec<_> = passed
            .iter()
            .map(|(receipt, what)| self.settling(*receipt, what))
            .collect();
        let results = self.inner.settle(passed).await;
        for (settling, result) in settling.into_iter().zip(&results) {
            if result.is_ok() {
                self.settled(settling);
            }
        }
        let mut results = results.into_iter();
        checks
            .into_iter()
            .filter_map(|check| {
                if check.is_ok() {
                    results.next()
                } else {
                    Some(check)
                }
            })
            .collect()
    }

    fn ack_at_once(&self, _receipt: Receipt) -> bool {
        // Faults and the book belong to `settle`.
        false
    }

    async fn mark(&self, batch: Vec<(Receipt, AttemptRecord)>) -> Vec<Result<()>> {
        let results = self.inner.mark(batch.clone()).await;
        for ((receipt, record), result) in batch.into_iter().zip(&results) {
            if result.is_ok() {
                self.marked(receipt, record);
            }
        }
        results
    }

    async fn extend(&self, batch: &[Receipt]) -> Vec<Result<()>> {
        self.inner.extend(batch).await
    }

    async fn leave(&self, deadline: Instant) -> Result<()> {
        let result = self.inner.leave(deadline).await;
        // What it held is free: whoever waits for quiet looks again.
        self.book.write(|_| ());
        result
    }
}

struct BroadcastReceiver {
    inner: Box<dyn Receiver>,
    id: u64,
    /// Handed to the client by the last call. It holds them by the time it asks again; until then they
    /// are still on their way.
    handed_over: usize,
    book: Arc<Book>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Receiver for BroadcastReceiver {
    async fn receive(&mut self, max: usize) -> Result<Inflow> {
        let count = std::mem::take(&mut self.handed_over);
        if count > 0 {
            self.book
                .write(|entries| entries.broadcast_received(self.id, count));
        }
        let inflow = self.inner.receive(max).await?;
        if let Inflow::Deliveries(deliveries) = &inflow {
            self.handed_over = deliveries.len();
        }
        Ok(inflow)
    }
}

impl Drop for BroadcastReceiver {
    fn drop(&mut self) {
        self.book.write(|entries| entries.broadcast_leaves(self.id));
    }
}
