//! Settling.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Subject};
use async_trait::async_trait;
use bus_api::adapter::Leave;
use bus_api::{AttemptRecord, DeadLetter, Error, ErrorKind, Receipt, Result, Settlement, Settler};
use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use crate::api::pub_ack;
use crate::dead_letters;
use crate::error::{WRONG_LAST_SEQUENCE, closed, error, fenced, is_refusal};
use crate::link::{Line, Lost, Slot};
use crate::shared::{Held, Settling};
use crate::subscribe::{Handle, Membership};
use crate::wire::put;

/// The header of a record whose message was handed back: up to which hand-over, and whether a handler may
/// have started it before that.
pub(crate) const RELEASED: &str = "bus-released";
/// The header of a record whose message rests: until when, in milliseconds since 1970.
pub(crate) const DUE: &str = "bus-due";

/// How long the server may take for one answer before it is asked again.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long to wait before asking again where nobody took the question.
const REST: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct NatsSettler(pub(crate) Arc<Membership>);

/// What is to be done with one message.
enum Step {
    Settle(Settlement),
    Mark(AttemptRecord),
}

/// Something to store before the server is told.
struct Entry {
    subject: String,
    headers: Option<HeaderMap>,
    payload: Bytes,
}

/// One message in the middle of being settled.
struct Work {
    receipt: Receipt,
    held: Held,
    step: Step,
    /// What is stored first, with the answer that is waited for.
    entry: Option<(Entry, Slot)>,
    /// What the server is told in the end: the answer that is waited for.
    told: Option<Slot>,
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

/// How long a hand-over or a renewal counts here: less than at the server, whose clock runs earlier.
pub(crate) fn certain(lease: Duration) -> Duration {
    lease - lease / 10
}

/// Renews leases.
pub(crate) async fn extend(handle: &Arc<Handle>, batch: &[Receipt]) -> Vec<Result<()>> {
    let sent_at = Instant::now();
    let asked: Vec<Option<Slot>> = batch
        .iter()
        .map(|receipt| {
            let held = handle.shared.held(*receipt)?;
            Some(handle.tell(held.ack, Bytes::from_static(b"+WPI")))
        })
        .collect();
    let patience = (handle.lease / 3).max(Duration::from_millis(100));
    let waits = asked.into_iter().zip(batch).map(async |(slot, receipt)| {
        let Some(slot) = slot else {
            return Err(fenced());
        };
        match slot.answer(patience).await {
            Ok(_)
                if handle
                    .shared
                    .extended(*receipt, sent_at + certain(handle.lease)) =>
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
    let begun: Vec<Result<Work>> = batch
        .map(|(receipt, step)| begin(handle, receipt, step))
        .collect();
    join_all(
        begun
            .into_iter()
            .map(async |work| finish(handle, work?).await),
    )
    .await
}

fn begin(handle: &Arc<Handle>, receipt: Receipt, step: Step) -> Result<Work> {
    let how = match &step {
        Step::Mark(_) => Settling::No,
        Step::Settle(Settlement::Ack | Settlement::DeadLetter(_)) => Settling::ForGood,
        // An ordered member keeps it, so nothing of it comes meanwhile.
        Step::Settle(_) if handle.ordered => Settling::ForGood,
        Step::Settle(_) => Settling::Again,
    };
    if !handle.is_active() {
        return Err(fenced());
    }
    let held = handle.shared.settle(receipt, how).ok_or_else(fenced)?;
    let entry = entry(handle, &held, &step).inspect_err(|_| handle.shared.unsettled(receipt))?;
    let entry = entry.map(|entry| {
        let slot = handle.send(&entry);
        (entry, slot)
    });
    let told = match (&entry, order(handle, &step)) {
        (None, Some(order)) => Some(handle.tell(held.ack.clone(), order)),
        _ => None,
    };
    Ok(Work {
        receipt,
        held,
        step,
        entry,
        told,
    })
}

/// What has to be stored before the server is told.
fn entry(handle: &Handle, held: &Held, step: &Step) -> Result<Option<Entry>> {
    let record = |record: Option<Bytes>, released: bool, due: Option<Duration>| {
        let mut headers = HeaderMap::new();
        if released {
            let text = format!("{} {}", held.count, u8::from(held.redelivered));
            put(&mut headers, RELEASED, &text)?;
        }
        if let Some(due) = due {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            put(&mut headers, DUE, &(now + due).as_millis().to_string())?;
        }
        Ok(Some(Entry {
            subject: handle.record_subject(held.sequence),
            headers: (!headers.is_empty()).then_some(headers),
            payload: record.unwrap_or_default(),
        }))
    };
    match step {
        Step::Mark(mark) => record(Some(mark.encode()), false, None),
        Step::Settle(Settlement::Ack) => Ok(None),
        Step::Settle(Settlement::Requeue { after, record: new }) => {
            let rests = handle.ordered && !after.is_zero();
            match new {
                Some(new) => record(Some(new.encode()), false, rests.then_some(*after)),
                None if rests => record(held.record.clone(), false, Some(*after)),
                None => Ok(None),
            }
        }
        Step::Settle(Settlement::Release) => {
            let started = unstarted(held);
            let rest = held
                .delivery
                .as_ref()
                .and_then(|delivery| delivery.not_before)
                .map(|due| due.saturating_duration_since(Instant::now()))
                .filter(|rest| !rest.is_zero());
            // What stays in the member needs no note for another one.
            let goes = !handle.stays();
            if (held.redelivered || !goes) && started.is_none() && rest.is_none() {
                return Ok(None);
            }
            let stored = started
                .map(|record| record.encode())
                .or_else(|| held.record.clone());
            record(stored, goes, rest)
        }
        Step::Settle(Settlement::DeadLetter(dead)) => dead_entry(handle, dead).map(Some),
    }
}

fn dead_entry(handle: &Handle, dead: &DeadLetter) -> Result<Entry> {
    let (headers, payload) = dead_letters::write(dead, handle.core.link.most())?;
    Ok(Entry {
        subject: handle
            .core
            .keys
            .dead_letter(&dead.subscription.group, dead.id),
        headers: Some(headers),
        payload,
    })
}

/// What the server is told in the end.
fn order(handle: &Handle, step: &Step) -> Option<Bytes> {
    match step {
        Step::Mark(_) => None,
        Step::Settle(Settlement::Ack | Settlement::DeadLetter(_)) => {
            Some(Bytes::from_static(b"+ACK"))
        }
        // It stays in the member, and so does its lease.
        Step::Settle(Settlement::Requeue { .. } | Settlement::Release) if handle.stays() => None,
        Step::Settle(Settlement::Requeue { after, .. }) if !after.is_zero() && !handle.ordered => {
            let delay = crate::api::nanos(*after);
            Some(format!("-NAK {{\"delay\":{delay}}}").into())
        }
        Step::Settle(Settlement::Requeue { .. } | Settlement::Release) => {
            Some(Bytes::from_static(b"-NAK"))
        }
    }
}

async fn finish(handle: &Arc<Handle>, work: Work) -> Result<()> {
    let Work {
        receipt,
        held,
        step,
        entry,
        told,
    } = work;
    let done = async {
        let mut stored_at = None;
        if let Some((entry, slot)) = entry {
            stored_at = store(handle, receipt, &entry, slot).await?;
        }
        if let (Some(at), Some(record)) = (stored_at, record_of(&step)) {
            handle.shared.recorded(receipt, record, at);
        }
        if let Some(order) = order(handle, &step) {
            let told = told.unwrap_or_else(|| handle.tell(held.ack.clone(), order.clone()));
            confirm(handle, receipt, &held.ack, &order, told).await?;
        }
        Ok(())
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

/// Waits until an entry is stored, sending it again after every break. Says where it lies, when that is known.
async fn store(
    handle: &Arc<Handle>,
    receipt: Receipt,
    entry: &Entry,
    mut slot: Slot,
) -> Result<Option<u64>> {
    loop {
        match slot.answer(PATIENCE).await {
            Ok(answer) => {
                return match pub_ack(&answer.payload) {
                    Ok(ack) => Ok(Some(ack.seq)),
                    // The same dead letter, written before: its id says that it is this one.
                    Err(refused) if is_refusal(&refused, WRONG_LAST_SEQUENCE) => Ok(None),
                    Err(refused) => Err(refused),
                };
            }
            Err(Lost::NoResponders) => {
                handle.core.streams.doubt();
                if let Err(failed) = handle.core.ready().await
                    && !failed.is_retryable()
                {
                    return Err(failed);
                }
                tokio::time::sleep(REST).await;
            }
            Err(lost) => passes(lost)?,
        }
        again(handle, receipt).await?;
        slot = handle.send(entry);
    }
}

/// Waits until the server has confirmed a settlement, telling it again after every break.
async fn confirm(
    handle: &Arc<Handle>,
    receipt: Receipt,
    ack: &Subject,
    order: &Bytes,
    mut slot: Slot,
) -> Result<()> {
    loop {
        match slot.answer(PATIENCE).await {
            Ok(_) => return Ok(()),
            // The consumer is gone, or its leader is being elected: the driver finds out.
            Err(Lost::NoResponders) => {
                handle.doubt();
                tokio::time::sleep(REST).await;
            }
            Err(lost) => passes(lost)?,
        }
        again(handle, receipt).await?;
        slot = handle.tell(ack.clone(), order.clone());
    }
}

/// Whether asking again may help.
fn passes(lost: Lost) -> Result<()> {
    match lost {
        Lost::Unsent | Lost::Unanswered | Lost::NoResponders => Ok(()),
        Lost::Closed => Err(closed()),
        other => Err(other.error()),
    }
}

/// Waits until the server is reached, as long as the delivery is this member's.
async fn again(handle: &Handle, receipt: Receipt) -> Result<()> {
    loop {
        handle.core.usable()?;
        let held = handle.shared.held(receipt).ok_or_else(fenced)?;
        if held.until <= Instant::now() || !handle.is_active() {
            return Err(fenced());
        }
        // In steps, because it may be lost meanwhile.
        let step = held.until.min(Instant::now() + PATIENCE);
        if handle.core.link.socket.until_up(step).await.is_ok() {
            return Ok(());
        }
    }
}

/// The record without its started-mark, when it has one.
fn unstarted(held: &Held) -> Option<AttemptRecord> {
    let record = AttemptRecord::decode(held.record.as_ref().filter(|r| !r.is_empty())?).ok()?;
    record.started.then_some(AttemptRecord {
        started: false,
        ..record
    })
}

/// Brings what the member knows up to date.
fn conclude(handle: &Handle, receipt: Receipt, held: &Held, step: &Step, done: &Result<()>) {
    let shared = &handle.shared;
    match (done, step) {
        (Ok(()), Step::Mark(_)) => {}
        (Ok(()), Step::Settle(Settlement::Requeue { after, record })) if handle.stays() => {
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
        (Ok(()), Step::Settle(Settlement::Release)) if handle.stays() => {
            shared.again(receipt, |delivery| {
                if let Some(record) = unstarted(held) {
                    delivery.record = Some(record.encode());
                }
            });
            shared.driver.notify_one();
        }
        (Ok(()), Step::Settle(settlement)) => {
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
    fn tell(&self, ack: Subject, order: Bytes) -> Slot {
        self.core.link.send(Line::Control, ack, None, order)
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
