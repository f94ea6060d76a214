//! A subscription: one half receives, the other settles.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bus_api::{
    AttemptRecord, Delivery, Error, ErrorKind, Inbound, Inflow, Order, Paused, Receipt, Receiver,
    Result, Scope, Settlement, Settler, Start, SubscriptionId, SubscriptionSpec,
};
use tokio::time::Instant;

use crate::shelf::{Reading, Shelf, Unsettled};

/// One live participant of a durable subscription.
#[derive(Clone, Debug)]
struct Member {
    shelf: Arc<Shelf>,
    id: SubscriptionId,
    number: u64,
    lease: Duration,
}

pub(crate) fn join(shelf: &Arc<Shelf>, spec: SubscriptionSpec) -> Result<Inbound> {
    let Scope::Group(group) = spec.scope else {
        return Err(
            Error::new(ErrorKind::Unsupported, "the shelf has no broadcasts").transport("shelf"),
        );
    };
    if spec.order != Order::None {
        return Err(
            Error::new(ErrorKind::Unsupported, "the shelf keeps no order per key")
                .transport("shelf"),
        );
    }
    let id = SubscriptionId::new(group, spec.pattern);
    let mut state = shelf.lock();
    // Resolved now, once: what is published after this call is delivered, whoever is slow to receive.
    let start = match &spec.start {
        Start::Earliest => 0,
        Start::Position(position) => usize::try_from(position.offset().0).unwrap_or(usize::MAX),
        Start::Time(time) => state.at(*time),
        _ => state.log.len(),
    };
    state.members += 1;
    let number = state.members;
    // The stored position wins over the start that was asked for.
    let reading = state
        .subscriptions
        .entry(id.clone())
        .or_insert_with(|| Reading {
            next: start,
            ..Reading::default()
        });
    reading.members += 1;
    let paused = Paused::follow(&reading.paused);
    drop(state);
    let member = Member {
        shelf: shelf.clone(),
        id,
        number,
        lease: spec.lease,
    };
    Ok(Inbound {
        receiver: Box::new(member.clone()),
        settler: Arc::new(member),
        lease: spec.lease,
        paused,
    })
}

#[async_trait]
impl Receiver for Member {
    async fn receive(&mut self, max: usize) -> Result<Inflow> {
        loop {
            // Listening begins before looking, so that nothing is missed in between.
            let bell = self.shelf.bell.notified();
            let (deliveries, wake) = self.take(max)?;
            if !deliveries.is_empty() {
                return Ok(Inflow::Deliveries(deliveries));
            }
            match wake {
                Some(wake) => drop(tokio::time::timeout_at(wake, bell).await),
                None => bell.await,
            }
        }
    }
}

impl Member {
    /// What can be handed over now, and otherwise when to look again.
    fn take(&self, max: usize) -> Result<(Vec<Delivery>, Option<Instant>)> {
        let now = Instant::now();
        let mut state = self.shelf.lock();
        let state = &mut *state;
        let Some(reading) = state.subscriptions.get_mut(&self.id) else {
            return Err(
                Error::new(ErrorKind::NotFound, "the subscription was deleted").transport("shelf"),
            );
        };
        while reading.unsettled.len() < reading.next.max(max) && reading.next < state.log.len() {
            if self
                .id
                .pattern
                .matches(&state.log[reading.next].message.topic)
            {
                let fresh = Unsettled {
                    holder: None,
                    not_before: now,
                    deliveries: 0,
                    started: false,
                    record: None,
                };
                reading.unsettled.insert(reading.next, fresh);
            }
            reading.next += 1;
        }
        let holder = Some((self.number, now + self.lease));
        let mut deliveries = Vec::new();
        let mut wake = None;
        for (&index, unsettled) in &mut reading.unsettled {
            if deliveries.len() == max {
                break;
            }
            if !unsettled.is_due(now) {
                let due = unsettled
                    .holder
                    .map_or(unsettled.not_before, |(_, until)| until);
                wake = Some(wake.map_or(due, |wake: Instant| wake.min(due)));
                continue;
            }
            // A lease that ran out says nothing about how far its holder came: a handler may have started.
            unsettled.started |= unsettled.holder.is_some();
            unsettled.holder = holder;
            unsettled.deliveries += 1;
            let stored = &state.log[index];
            deliveries.push(Delivery {
                receipt: Receipt {
                    slot: index as u64,
                    epoch: u64::from(unsettled.deliveries),
                },
                message: stored.message.clone(),
                position: stored.position.clone(),
                delivery: unsettled.deliveries,
                redelivered: unsettled.started,
                not_before: None,
                record: unsettled.record.clone(),
                malformed: None,
            });
        }
        Ok((deliveries, wake))
    }

    /// Runs `change` on what `receipt` stands for; `Fenced` when it is no longer this member's.
    fn change(&self, receipt: Receipt, change: impl FnOnce(&mut Unsettled) -> After) -> Result<()> {
        let fenced = || Error::new(ErrorKind::Fenced, "another member has it").transport("shelf");
        let index = usize::try_from(receipt.slot).map_err(|_| fenced())?;
        let mut state = self.shelf.lock();
        let unsettled = state
            .subscriptions
            .get_mut(&self.id)
            .map(|reading| &mut reading.unsettled);
        let entry = unsettled
            .and_then(|unsettled| unsettled.get_mut(&index))
            .ok_or_else(fenced)?;
        if u64::from(entry.deliveries) != receipt.epoch
            || entry.holder.is_none_or(|(n, _)| n != self.number)
        {
            return Err(fenced());
        }
        let after = change(entry);
        if let After::Gone { dead_letter } = after {
            if let Some(entry) = dead_letter {
                let entries = state.dead.entry(self.id.group.clone()).or_default();
                // Writing the same entry twice is writing it once.
                if entries.iter().all(|known| known.id != entry.id) {
                    entries.push(*entry);
                }
            }
            if let Some(reading) = state.subscriptions.get_mut(&self.id) {
                reading.unsettled.remove(&index);
            }
        }
        Ok(())
    }
}

/// What is left of a delivery after a change.
enum After {
    Stays,
    Gone {
        dead_letter: Option<Box<bus_api::DeadLetter>>,
    },
}

#[async_trait]
impl Settler for Member {
    async fn settle(&self, batch: Vec<(Receipt, Settlement)>) -> Vec<Result<()>> {
        let now = Instant::now();
        let results = batch
            .into_iter()
            .map(|(receipt, settlement)| {
                self.change(receipt, |unsettled| match settlement {
                    Settlement::Ack => After::Gone { dead_letter: None },
                    Settlement::DeadLetter(entry) => After::Gone {
                        dead_letter: Some(entry),
                    },
                    Settlement::Release => {
                        unsettled.free(now, None);
                        unsettled.record = unsettled.record.take().map(not_started);
                        After::Stays
                    }
                    Settlement::Requeue { after, record } => {
                        unsettled.started = true;
                        unsettled.free(now + after, record);
                        After::Stays
                    }
                })
            })
            .collect();
        self.shelf.bell.notify_waiters();
        results
    }

    fn ack_at_once(&self, _receipt: Receipt) -> bool {
        // Left to `settle`, which is right for every transport.
        false
    }

    async fn mark(&self, batch: Vec<(Receipt, AttemptRecord)>) -> Vec<Result<()>> {
        let store = |(receipt, record): (Receipt, AttemptRecord)| {
            self.change(receipt, |unsettled| {
                unsettled.record = Some(record.encode());
                After::Stays
            })
        };
        batch.into_iter().map(store).collect()
    }

    async fn extend(&self, batch: &[Receipt]) -> Vec<Result<()>> {
        let until = Instant::now() + self.lease;
        let renew = |receipt: &Receipt| {
            self.change(*receipt, |unsettled| {
                unsettled.holder = Some((self.number, until));
                After::Stays
            })
        };
        batch.iter().map(renew).collect()
    }

    async fn leave(&self, _: Instant) -> Result<()> {
        let now = Instant::now();
        let mut state = self.shelf.lock();
        if let Some(reading) = state.subscriptions.get_mut(&self.id) {
            reading.members = reading.members.saturating_sub(1);
            for unsettled in reading.unsettled.values_mut() {
                if unsettled
                    .holder
                    .is_some_and(|(number, _)| number == self.number)
                {
                    unsettled.free(now, None);
                }
            }
        }
        drop(state);
        self.shelf.bell.notify_waiters();
        Ok(())
    }
}

/// The stored record without its started-mark.
fn not_started(record: bytes::Bytes) -> bytes::Bytes {
    match AttemptRecord::decode(&record) {
        Ok(known) => AttemptRecord {
            started: false,
            ..known
        }
        .encode(),
        // A newer release wrote it: not ours to change.
        Err(_) => record,
    }
}
