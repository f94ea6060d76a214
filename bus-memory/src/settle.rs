//! Settling deliveries and keeping their leases.

use std::sync::Arc;

use async_trait::async_trait;
use bus_api::{AttemptRecord, Receipt, Result, Settlement, Settler};
use tokio::time::Instant;

use crate::clock::later;
use crate::error::fenced;
use crate::state::State;
use crate::subscribe::Membership;
use crate::subscription::Subscription;

/// The settling half of a member.
#[derive(Debug)]
pub(crate) struct MemorySettler(pub(crate) Arc<Membership>);

impl MemorySettler {
    /// Does `work` for each part of a batch, under one lock.
    fn each<T>(
        &self,
        batch: impl ExactSizeIterator<Item = T>,
        mut work: impl FnMut(&Membership, &mut State, T) -> Result<()>,
    ) -> Vec<Result<()>> {
        // A broadcast is done with at the hand-over.
        if !self.0.durable {
            return batch.map(|_| Ok(())).collect();
        }
        let mut state = self.0.connection.space.lock();
        batch.map(|part| work(&self.0, &mut state, part)).collect()
    }
}

fn subscription<'a>(member: &Membership, state: &'a mut State) -> Result<&'a mut Subscription> {
    state
        .subscriptions
        .get_mut(member.subscription)
        .ok_or_else(fenced)
}

fn settle_one(
    member: &Membership,
    state: &mut State,
    (receipt, settlement): (Receipt, Settlement),
) -> Result<()> {
    let subscription = state
        .subscriptions
        .get_mut(member.subscription)
        .ok_or_else(fenced)?;
    let (key, slot) = subscription.held(member.id, receipt).ok_or_else(fenced)?;
    match settlement {
        Settlement::Ack => {}
        Settlement::DeadLetter(entry) => state.dead.write(*entry),
        Settlement::Release => {
            slot.unmark();
            subscription.give_back(key, None, &mut state.store);
            return Ok(());
        }
        Settlement::Requeue { after, record } => {
            slot.suspect = true;
            if let Some(record) = record {
                slot.record = Some(record.encode());
            }
            let rest_until = (!after.is_zero()).then(|| later(Instant::now(), after));
            subscription.give_back(key, rest_until, &mut state.store);
            return Ok(());
        }
    }
    if let Some(number) = subscription.finish(key) {
        state.store.settle(number);
    }
    Ok(())
}

#[async_trait]
impl Settler for MemorySettler {
    async fn settle(&self, batch: Vec<(Receipt, Settlement)>) -> Vec<Result<()>> {
        if let Err(error) = self.0.connection.reachable().await {
            return batch.iter().map(|_| Err(error.clone())).collect();
        }
        let results = self.each(batch.into_iter(), settle_one);
        self.0.connection.space.note_idle();
        results
    }

    fn ack_at_once(&self, receipt: Receipt) -> bool {
        let member = &self.0;
        if !member.durable || member.connection.usable().is_err() {
            return false;
        }
        let mut state = member.connection.space.lock();
        let done = settle_one(member, &mut state, (receipt, Settlement::Ack)).is_ok();
        let is_last = done
            && subscription(member, &mut state).is_ok_and(|subscription| subscription.lag() == 0);
        drop(state);
        if is_last {
            member.connection.space.note_idle();
        }
        done
    }

    async fn mark(&self, batch: Vec<(Receipt, AttemptRecord)>) -> Vec<Result<()>> {
        if let Err(error) = self.0.connection.reachable().await {
            return batch.iter().map(|_| Err(error.clone())).collect();
        }
        self.each(batch.into_iter(), |member, state, (receipt, record)| {
            let subscription = subscription(member, state)?;
            let (_, slot) = subscription.held(member.id, receipt).ok_or_else(fenced)?;
            slot.record = Some(record.encode());
            Ok(())
        })
    }

    async fn extend(&self, batch: &[Receipt]) -> Vec<Result<()>> {
        if let Err(error) = self.0.connection.usable() {
            return batch.iter().map(|_| Err(error.clone())).collect();
        }
        let now = Instant::now();
        self.each(batch.iter(), |member, state, receipt| {
            let subscription = subscription(member, state)?;
            let (key, _) = subscription.held(member.id, *receipt).ok_or_else(fenced)?;
            subscription.extend(key, later(now, member.lease));
            Ok(())
        })
    }

    async fn leave(&self, deadline: Instant) -> Result<()> {
        if self.0.connection.is_closed() {
            return Ok(());
        }
        let reached = self.0.connection.reachable_until(deadline).await;
        if reached.is_ok() {
            self.0.leave();
        }
        reached
    }
}
