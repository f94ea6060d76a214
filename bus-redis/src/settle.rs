//! Settling.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bus_api::adapter::Backoff;
use bus_api::cloudevents::dead_letter_details;
use bus_api::{AttemptRecord, DeadLetter, Receipt, Result, Settlement, Settler};
use redis::Cmd;
use tokio::time::Instant;

use crate::error::{closed, fenced, senseless};
use crate::shared::Held;
use crate::subscribe::{Handle, Membership};
use crate::value::{Take, id};
use crate::{script, wire};
use bus_api::adapter::Leave;

/// The field of a dead letter that holds everything but the message.
pub(crate) const DETAILS: &str = "bus-dead-letter";
/// Most messages of one call; the server's Lua takes about 8,000 values at once.
const MOST: usize = 1_024;
/// A call is full beyond this many bytes of dead letters.
const MOST_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct RedisSettler(pub(crate) Arc<Membership>);

/// What is to be done with one message.
enum Step {
    Settle(Settlement),
    Mark(AttemptRecord),
}

struct Item {
    index: usize,
    receipt: Receipt,
    held: Held,
    step: Step,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Settler for RedisSettler {
    async fn settle(&self, batch: Vec<(Receipt, Settlement)>) -> Vec<Result<()>> {
        let steps = batch
            .into_iter()
            .map(|(receipt, settlement)| (receipt, Step::Settle(settlement)))
            .collect();
        run(&self.0.0, steps).await
    }

    fn ack_at_once(&self, _receipt: Receipt) -> bool {
        // It takes a round trip.
        false
    }

    async fn mark(&self, batch: Vec<(Receipt, AttemptRecord)>) -> Vec<Result<()>> {
        let steps = batch
            .into_iter()
            .map(|(receipt, record)| (receipt, Step::Mark(record)))
            .collect();
        run(&self.0.0, steps).await
    }

    async fn extend(&self, batch: &[Receipt]) -> Vec<Result<()>> {
        // The driver renews the lease of the member as a whole; what it has lost is not held any more.
        let epoch = self.0.0.identity().1;
        batch
            .iter()
            .map(|receipt| match self.0.0.shared.held(*receipt, epoch) {
                Some(_) => Ok(()),
                None => Err(fenced()),
            })
            .collect()
    }

    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.0.0.leave(deadline).await
    }
}

/// Hands back what no handler has seen.
pub(crate) async fn release(handle: &Arc<Handle>, receipts: &[Receipt]) -> Result<()> {
    let steps = receipts
        .iter()
        .map(|receipt| (*receipt, Step::Settle(Settlement::Release)))
        .collect();
    for result in run(handle, steps).await {
        match result {
            Err(error) if error.kind() != bus_api::ErrorKind::Fenced => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

async fn run(handle: &Arc<Handle>, batch: Vec<(Receipt, Step)>) -> Vec<Result<()>> {
    let (name, epoch) = handle.identity();
    let mut results: Vec<Result<()>> = vec![Err(fenced()); batch.len()];
    let mut roots: BTreeMap<String, Vec<Item>> = BTreeMap::new();
    for (index, (receipt, step)) in batch.into_iter().enumerate() {
        if let Some(held) = handle.shared.held(receipt, epoch) {
            let root = held.topic.root().to_owned();
            roots.entry(root).or_default().push(Item {
                index,
                receipt,
                held,
                step,
            });
        }
    }
    for (root, mut items) in roots {
        while !items.is_empty() {
            let mut bytes = 0;
            let count = items
                .iter()
                .take(MOST)
                .take_while(|item| {
                    let fits = bytes < MOST_BYTES;
                    if let Step::Settle(Settlement::DeadLetter(entry)) = &item.step {
                        bytes += entry.message.size();
                    }
                    fits
                })
                .count();
            let rest = items.split_off(count);
            let outcomes = call(handle, &name, &root, &items).await;
            for (item, outcome) in items.into_iter().zip(outcomes) {
                conclude(handle, epoch, &item, &outcome);
                results[item.index] = outcome;
            }
            items = rest;
        }
    }
    results
}

/// One call, repeated until the server has answered it.
async fn call(handle: &Handle, name: &Arc<str>, root: &str, items: &[Item]) -> Vec<Result<()>> {
    let (command, order) = command(handle, name, root, items);
    let mut backoff = Backoff::default();
    let mut asked_before = false;
    loop {
        match handle.core.control.run(&command).await {
            Ok(reply) => {
                return match outcomes(reply, &order, items.len(), asked_before) {
                    Ok(Some(outcomes)) => outcomes,
                    Ok(None) => {
                        handle.inbox_stirred(root);
                        vec![Err(fenced()); items.len()]
                    }
                    Err(error) => vec![Err(error); items.len()],
                };
            }
            Err(error) if error.kind() == bus_api::ErrorKind::Closed => {
                return vec![Err(closed()); items.len()];
            }
            // Whether it was done or not: a repeat changes nothing. A broker that is away is waited for.
            Err(error) if error.is_retryable() => {
                asked_before |= error.is_indeterminate();
                if handle.identity().0 != *name {
                    return vec![Err(fenced()); items.len()];
                }
                backoff.wait(&handle.core.life, None).await;
            }
            Err(error) => return vec![Err(error); items.len()],
        }
    }
}

/// The command, and which item each of its answers is about.
fn command(handle: &Handle, name: &Arc<str>, root: &str, items: &[Item]) -> (Cmd, Vec<usize>) {
    let keys = &handle.core.keys;
    let own = keys.subscription(root, &handle.sub);
    let group = &handle.id.group;
    let fixed = [
        own.members,
        own.lock,
        own.park,
        own.records,
        keys.dead_letters(root, group),
        keys.dead_index(root, group),
        keys.dead_groups(root),
    ];
    let mut streams: Vec<&bus_api::Topic> = Vec::new();
    let mut plain: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut others = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let known = streams.iter().position(|topic| **topic == item.held.topic);
        let stream = known.unwrap_or_else(|| {
            streams.push(&item.held.topic);
            streams.len() - 1
        });
        let is_plain = matches!(item.step, Step::Settle(Settlement::Ack))
            && item.held.record.is_none()
            && !handle.ordered;
        if is_plain {
            plain.entry(stream + 1).or_default().push(index);
        } else {
            others.push((stream + 1, index));
        }
    }
    let stream_keys: Vec<String> = streams.iter().map(|topic| keys.stream(topic)).collect();
    let all = fixed.iter().chain(&stream_keys).map(String::as_str);
    let mut call = script::call(&script::SETTLE, all);
    call.arg(&**name)
        .arg(&*handle.consumer(name))
        .arg(&handle.sub)
        .arg(keys.channel(root))
        .arg(format!("m {}", handle.sub))
        .arg(group.as_str());
    let mut order = Vec::with_capacity(items.len());
    for (stream, indexes) in plain {
        call.arg("A").arg(stream).arg(indexes.len());
        for index in indexes {
            call.arg(id(items[index].held.offset));
            order.push(index);
        }
    }
    for (stream, index) in others {
        add(&mut call, stream, &items[index]);
        order.push(index);
    }
    (call, order)
}

fn add(call: &mut Cmd, stream: usize, item: &Item) {
    let at = id(item.held.offset);
    match &item.step {
        Step::Settle(Settlement::Ack) => {
            call.arg("a").arg(stream).arg(at);
        }
        Step::Settle(Settlement::Requeue { after, record }) => {
            let delay = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            // A score is exact below 2^53.
            call.arg("R")
                .arg(stream)
                .arg(at)
                .arg(delay.min(1 << 52))
                .arg(
                    record
                        .map(|record| record.encode().to_vec())
                        .unwrap_or_default(),
                );
        }
        Step::Settle(Settlement::Release) => {
            // A started-mark may be on its way whose answer nobody waited for: what was known before it counts.
            let record = unstarted(&item.held)
                .map(|record| record.encode())
                .or_else(|| item.held.record.clone());
            call.arg("H")
                .arg(stream)
                .arg(at)
                .arg(&record.unwrap_or_default()[..]);
        }
        Step::Settle(Settlement::DeadLetter(entry)) => {
            let items = dead_letter(entry);
            call.arg("D")
                .arg(stream)
                .arg(at)
                .arg(entry.id.to_string())
                .arg(items.len());
            for item in items {
                call.arg(item);
            }
        }
        Step::Mark(record) => {
            call.arg("M")
                .arg(stream)
                .arg(at)
                .arg(record.encode().to_vec());
        }
    }
}

fn dead_letter(entry: &DeadLetter) -> Vec<Vec<u8>> {
    let mut items = vec![
        DETAILS.as_bytes().to_vec(),
        dead_letter_details(entry).to_vec(),
    ];
    items.extend(wire::flat(&entry.message));
    items
}

/// The record without its started-mark, when it has one.
fn unstarted(held: &Held) -> Option<AttemptRecord> {
    let record = AttemptRecord::decode(held.record.as_ref()?).ok()?;
    record.started.then_some(AttemptRecord {
        started: false,
        ..record
    })
}

/// `None`: the member as a whole is fenced.
fn outcomes(
    reply: redis::Value,
    order: &[usize],
    count: usize,
    asked_before: bool,
) -> Result<Option<Vec<Result<()>>>> {
    const WHAT: &str = "settling";
    let parts = reply.array(WHAT)?;
    if matches!(parts.first(), Some(redis::Value::BulkString(word)) if word == b"F") {
        return Ok(None);
    }
    if parts.len() != count {
        return Err(senseless(WHAT));
    }
    let mut outcomes = vec![Err(fenced()); count];
    for (part, index) in parts.iter().zip(order) {
        let done = part.int(WHAT)? != 0 || asked_before;
        if done && let Some(outcome) = outcomes.get_mut(*index) {
            *outcome = Ok(());
        }
    }
    Ok(Some(outcomes))
}

/// Brings what the member knows up to date.
fn conclude(handle: &Handle, epoch: u64, item: &Item, outcome: &Result<()>) {
    let shared = &handle.shared;
    match (outcome, &item.step) {
        (Ok(()), Step::Mark(record)) => shared.recorded(item.receipt, record),
        (Ok(()), Step::Settle(Settlement::Requeue { after, record }))
            if handle.ordered && !*handle.leaving.borrow() =>
        {
            let due = Instant::now().checked_add(*after);
            shared.again(item.receipt.slot, |delivery| {
                delivery.not_before = due.filter(|_| !after.is_zero());
                delivery.redelivered = true;
                delivery.delivery = delivery.delivery.saturating_add(1);
                if let Some(record) = record {
                    delivery.record = Some(record.encode());
                }
                delivery.receipt.epoch = epoch;
            });
        }
        (Ok(()), Step::Settle(Settlement::Release))
            if handle.ordered && !*handle.leaving.borrow() =>
        {
            shared.again(item.receipt.slot, |delivery| {
                if let Some(record) = unstarted(&item.held) {
                    delivery.record = Some(record.encode());
                }
                delivery.receipt.epoch = epoch;
            });
        }
        (Ok(()), Step::Settle(_)) => shared.forget(item.receipt),
        (Err(error), _) if error.kind() == bus_api::ErrorKind::Fenced => {
            shared.forget(item.receipt);
        }
        (Err(_), _) => {}
    }
}

impl Handle {
    /// Lets the driver look at its lease on a root now.
    fn inbox_stirred(&self, root: &str) {
        crate::registry::Interest::stirred(self, root, &self.sub);
    }
}
