//! Settling.

mod confirm;
mod entry;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bus_api::adapter::{Leave, certain};
use bus_api::{AttemptRecord, Error, ErrorKind, Receipt, Result, Settlement, Settler};
use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use self::confirm::{confirm, recalled, store};
pub(crate) use self::entry::{DUE, RELEASED};
use self::entry::{Entry, entry, order, unstarted};
use crate::error::{error, fenced};
use crate::held::{Held, Settling};
use crate::link::{Line, Lost, Slot};
use crate::ours::{Confirmed, Renewal};
use crate::subscribe::{Handle, Membership};

/// Within this the server has mostly confirmed all of a batch; what is missing then is looked after one by one.
const MOSTLY: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct NatsSettler(pub(crate) Arc<Membership>);

/// What is to be done with one message.
enum Step {
    Settle(Settlement),
    Mark(AttemptRecord),
}

/// One message in the middle of being settled.
struct Work {
    receipt: Receipt,
    held: Held,
    step: Step,
    how: Settling,
    /// What is stored first, with the answer that is waited for; none yet where parts of it come first.
    entry: Option<(Entry, Option<Slot>)>,
    /// What the server is told in the end: the answer that is waited for.
    told: Option<Told>,
}

/// A word to the server: the connection over which it went, by its number, and the run of the server that hears it.
struct Told {
    slot: Slot,
    epoch: u64,
    run: Option<Arc<str>>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Settler for NatsSettler {
    async fn settle(&self, batch: Vec<(Receipt, Settlement)>) -> Vec<Result<()>> {
        let steps = batch
            .into_iter()
            .map(|(receipt, settlement)| (receipt, Step::Settle(settlement)));
        run(&self.0.0, steps).await
    }

    fn ack_at_once(&self, _receipt: Receipt) -> bool {
        // It takes a round trip.
        false
    }

    async fn mark(&self, batch: Vec<(Receipt, AttemptRecord)>) -> Vec<Result<()>> {
        let steps = batch
            .into_iter()
            .map(|(receipt, record)| (receipt, Step::Mark(record)));
        run(&self.0.0, steps).await
    }

    async fn extend(&self, batch: &[Receipt]) -> Vec<Result<()>> {
        extend(&self.0.0, batch).await
    }

    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.0.0.leave(deadline).await
    }
}

/// Renews leases.
pub(crate) async fn extend(handle: &Arc<Handle>, batch: &[Receipt]) -> Vec<Result<()>> {
    let sent_at = Instant::now();
    let asked: Vec<Renewal<Told>> = batch
        .iter()
        .map(|receipt| {
            let renew = |held: &Held| {
                let known = handle.reaches(held.run.as_deref());
                known.then(|| handle.tell(held, Bytes::from_static(b"+WPI")))
            };
            handle.shared.renewing(*receipt, renew)
        })
        .collect();
    let patience = (handle.lease / 3).max(Duration::from_millis(100));
    let waits = asked
        .into_iter()
        .zip(batch)
        .map(async |(renewal, receipt)| {
            let slot = match renewal {
                Renewal::Gone => return Err(fenced()),
                Renewal::Spared => return Ok(()),
                Renewal::Sent(told) => told.slot,
            };
            match slot.answer(patience).await {
                Ok(_)
                    if handle.shared.extended(
                        *receipt,
                        sent_at,
                        sent_at + certain(handle.lease),
                    ) =>
                {
                    Ok(())
                }
                Ok(_) => Err(fenced()),
                Err(Lost::NoResponders) => {
                    handle.doubt();
                    Err(Lost::NoResponders.error())
                }
                Err(lost) => Err(lost.error()),
            }
        });
    join_all(waits).await
}

/// Hands back what is held, in order. What no handler has seen is as it was.
pub(crate) async fn release(handle: &Arc<Handle>, receipts: &[Receipt]) -> Vec<Result<()>> {
    let steps = receipts
        .iter()
        .map(|receipt| (*receipt, Step::Settle(Settlement::Release)));
    run(handle, steps).await
}

async fn run(
    handle: &Arc<Handle>,
    batch: impl Iterator<Item = (Receipt, Step)>,
) -> Vec<Result<()>> {
    // Everything is on its way before the first answer is waited for.
    let mut begun: Vec<Result<Work>> = batch
        .map(|(receipt, step)| begin(handle, receipt, step))
        .collect();
    let done = if are_answered(&mut begun).await {
        let mut done = Vec::with_capacity(begun.len());
        for work in begun {
            done.push(finish(handle, work).await);
        }
        done
    } else {
        join_all(begun.into_iter().map(|work| finish(handle, work))).await
    };
    // What was confirmed first has waited for the others, and the server may have ended meanwhile.
    let stands = handle.standing();
    done.into_iter()
        .map(|done| match done? {
            Some(confirmed) if !stands(&confirmed) => Err(fenced()),
            _ => Ok(()),
        })
        .collect()
}

/// Waits for the answers where nothing else is missing: one after the other, as they come, with one timer for all.
async fn are_answered(begun: &mut [Result<Work>]) -> bool {
    let told = |work: &Result<Work>| work.as_ref().is_ok_and(|work| work.told.is_some());
    if !begun.iter().all(told) {
        return false;
    }
    let answers = async {
        for told in begun
            .iter_mut()
            .flatten()
            .filter_map(|work| work.told.as_mut())
        {
            if !told.slot.wait().await {
                return false;
            }
        }
        true
    };
    let answered = tokio::time::timeout(MOSTLY, answers).await;
    answered.unwrap_or(false)
}

fn begin(handle: &Arc<Handle>, receipt: Receipt, step: Step) -> Result<Work> {
    let how = settling(handle, &step);
    if !handle.is_active() {
        return Err(fenced());
    }
    let held = handle.shared.settle(receipt, how).ok_or_else(fenced)?;
    if held.forgotten && matches!(step, Step::Settle(Settlement::Release)) {
        // There is nothing to give back.
        handle.shared.forget(receipt);
        return Err(fenced());
    }
    let entry = entry(handle, &held, &step).inspect_err(|_| handle.shared.unsettled(receipt))?;
    let reached = handle.reaches(held.run.as_deref());
    let entry = entry.map(|entry| {
        let slot = (reached && entry.parts.is_empty()).then(|| handle.send(&entry));
        (entry, slot)
    });
    let told = match (&entry, order(handle, &step)) {
        (None, Some(order)) if reached => Some(finally(handle, receipt, &held, how, order)),
        _ => None,
    };
    Ok(Work {
        receipt,
        held,
        step,
        how,
        entry,
        told,
    })
}

fn settling(handle: &Handle, step: &Step) -> Settling {
    match step {
        Step::Mark(_) => Settling::No,
        Step::Settle(Settlement::Ack | Settlement::DeadLetter(_)) => Settling::ForGood,
        // An ordered member keeps it, so nothing of it comes meanwhile.
        Step::Settle(_) if handle.ordered => Settling::ForGood,
        Step::Settle(_) => Settling::Again,
    }
}

/// Tells the server what becomes of a delivery.
fn finally(handle: &Handle, receipt: Receipt, held: &Held, how: Settling, order: Bytes) -> Told {
    let tell = || handle.tell(held, order);
    if how == Settling::Again {
        handle.shared.returning(receipt, tell)
    } else {
        tell()
    }
}

/// What was confirmed; nothing where nothing had to be.
async fn finish(handle: &Arc<Handle>, work: Result<Work>) -> Result<Option<Confirmed>> {
    let Work {
        receipt,
        mut held,
        step,
        how,
        entry,
        told,
    } = work?;
    let done = async {
        let mut stored_at = None;
        if !handle.reaches(held.run.as_deref()) {
            held = recalled(handle, receipt).await?;
        }
        if let Some((entry, slot)) = entry {
            for part in &entry.parts {
                store(handle, receipt, part, handle.send(part)).await?;
            }
            let slot = slot.unwrap_or_else(|| handle.send(&entry));
            stored_at = store(handle, receipt, &entry, slot).await?;
        }
        if let (Some(at), Some(record)) = (stored_at, record_of(&step)) {
            handle.shared.recorded(receipt, record, at);
        }
        if let Some(order) = order(handle, &step) {
            let told = told.unwrap_or_else(|| finally(handle, receipt, &held, how, order.clone()));
            let confirmed = confirm(handle, receipt, &order, told).await?;
            return Ok(Some(confirmed));
        }
        Ok(None)
    }
    .await;
    conclude(handle, receipt, &held, &step, &done);
    done
}

fn record_of(step: &Step) -> Option<&AttemptRecord> {
    match step {
        Step::Mark(record) => Some(record),
        Step::Settle(Settlement::Requeue { record, .. }) => record.as_ref(),
        Step::Settle(_) => None,
    }
}

/// Brings what the member knows up to date.
fn conclude<T>(handle: &Handle, receipt: Receipt, held: &Held, step: &Step, done: &Result<T>) {
    let shared = &handle.shared;
    match (done, step) {
        (Ok(_), Step::Mark(_)) => {}
        (Ok(_), Step::Settle(Settlement::Requeue { after, record })) if handle.stays() => {
            let due = Instant::now().checked_add(*after);
            shared.again(receipt, |delivery| {
                delivery.not_before = due.filter(|_| !after.is_zero());
                delivery.redelivered = true;
                delivery.delivery = delivery.delivery.saturating_add(1);
                if let Some(record) = record {
                    delivery.record = Some(record.encode());
                }
            });
            shared.driver.notify_one();
        }
        (Ok(_), Step::Settle(Settlement::Release)) if handle.stays() => {
            shared.again(receipt, |delivery| {
                if let Some(record) = unstarted(held) {
                    delivery.record = Some(record.encode());
                }
            });
            shared.driver.notify_one();
        }
        (Ok(_), Step::Settle(settlement)) => {
            shared.forget(receipt);
            if let Settlement::Requeue { after, .. } = settlement
                && let Some(due) = Instant::now().checked_add(*after)
            {
                shared.rest(held.sequence, due);
            }
            let for_good = matches!(settlement, Settlement::Ack | Settlement::DeadLetter(_));
            if let Some(at) = held.record_at.filter(|_| for_good) {
                let rest = format!("STREAM.MSG.DELETE.{}", handle.core.keys.books());
                // One that stays is removed with the others when the subscription is.
                drop(
                    handle
                        .core
                        .api_later(&rest, &json!({"seq": at, "no_erase": true})),
                );
            }
        }
        (Err(failed), _) if failed.kind() == ErrorKind::Fenced => shared.forget(receipt),
        (Err(_), _) => shared.unsettled(receipt),
    }
}

impl Handle {
    /// Settles one delivery at the server.
    fn tell(&self, held: &Held, order: Bytes) -> Told {
        let epoch = self.core.link.socket.reach().epoch;
        let ack = held.ack.clone();
        Told {
            slot: self.core.link.send(Line::Control, ack, None, order),
            epoch,
            run: held.run.clone(),
        }
    }

    fn send(&self, entry: &Entry) -> Slot {
        self.core.link.send(
            Line::Control,
            entry.subject.clone(),
            entry.headers.clone(),
            entry.payload.clone(),
        )
    }

    /// What comes again does so inside of this member.
    fn stays(&self) -> bool {
        self.ordered && !*self.leaving.borrow()
    }
}

/// What leaving says when it took too long.
pub(crate) fn late() -> Error {
    error(
        ErrorKind::Timeout,
        "leaving was not confirmed until the deadline; the lease frees what is left",
    )
}
