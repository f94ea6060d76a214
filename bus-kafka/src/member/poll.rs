//! The thread that polls: fetching, rebalancing, holding back. Nothing that takes long happens here, so that the
//! group never takes the member for dead because its handlers are slow.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bus_api::cloudevents::Extent;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use tokio::time::Instant;

use super::assigning::{finish_assigning, finish_revoking, stop_waiting};
use super::context::Context;
use super::doubts::{Doubts, start_recreated};
use super::partition::{Fetched, Part};
use super::shared::{Shared, Stage};
use crate::error::{from_client, is_final};
use crate::flow::Flow;
use crate::wire;

/// How long the thread waits for a message before it looks for other work.
const STEP: Duration = Duration::from_millis(20);
/// Messages taken under one lock.
const BATCH: usize = 500;
/// How late the brokers learn of messages that were handed out, or passed by, without anything being settled.
const PROGRESS: Duration = Duration::from_millis(100);
/// How long a question about committed offsets may take on this thread.
pub(super) const QUESTION: Duration = Duration::from_secs(5);

/// Polls until the member leaves, has to join anew, or the connection ends.
pub(super) fn run(shared: &Arc<Shared>, consumer: &Arc<BaseConsumer<Context>>) {
    let mut flow = match Flow::new(consumer, shared.max_in_flight) {
        Ok(flow) => flow,
        Err(failed) => return shared.fail(failed),
    };
    let mut doubts = Doubts::new();
    let mut last_commit = Instant::now();
    let is_wanted = || shared.stage() < Stage::Leaving && !shared.core.life.is_over();
    while is_wanted() && shared.todo().rejoin.is_none() {
        subscribe(shared, consumer);
        finish_assigning(shared, consumer, &flow);
        finish_revoking(shared, consumer);
        stop_waiting(shared);
        // A topic that proves to be another one is started anew before anything more is taken.
        doubts.settle(shared, consumer);
        start_recreated(shared, consumer, &mut doubts);
        control_flow(shared, &mut flow);
        if last_commit.elapsed() > PROGRESS {
            last_commit = Instant::now();
            note_progress(shared);
        }
        poll(shared, consumer, &mut doubts);
    }
}

/// What passed unseen is committed now and then.
fn note_progress(shared: &Shared) {
    let mut inner = shared.lock();
    let mut moved = false;
    for part in inner.parts.values_mut() {
        moved |= part.note_progress();
    }
    drop(inner);
    if moved {
        shared.work.notify_all();
    }
}

fn subscribe(shared: &Shared, consumer: &BaseConsumer<Context>) {
    let Some(topics) = shared.todo().topics.take() else {
        return;
    };
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    if let Err(native) = consumer.subscribe(&names) {
        shared.fail(from_client(&native));
    }
}

/// Takes no more while enough waits.
fn control_flow(shared: &Shared, flow: &mut Flow<'_>) {
    let (waiting, bytes) = {
        let inner = shared.lock();
        (inner.waiting(), inner.buffered())
    };
    flow.control(waiting, bytes);
}

fn poll(shared: &Shared, consumer: &BaseConsumer<Context>, doubts: &mut Doubts) {
    let mut batch = Vec::new();
    let mut patience = STEP;
    while batch.len() < BATCH {
        match consumer.poll(patience) {
            None => break,
            Some(Ok(record)) => batch.push(record),
            Some(Err(native)) => note_error(shared, &native, doubts),
        }
        patience = Duration::ZERO;
    }
    if batch.is_empty() {
        doubts.heard_nothing();
        return;
    }
    doubts.listen(shared, batch.iter().map(BorrowedMessage::topic));
    shared.core.life.reached();
    let now = shared.parks().then(SystemTime::now);
    let mut dropped = 0;
    let mut inner = shared.lock();
    for record in &batch {
        let Some(part) = inner.part(record.topic(), record.partition()) else {
            continue;
        };
        if part.is_away() || doubts.topics.contains(record.topic()) {
            continue;
        }
        let (fetched, gone) = part.meet(record.offset());
        dropped += gone;
        if fetched == Fetched::Again {
            doubts.topics.insert(record.topic().to_owned());
        }
        if fetched != Fetched::Waits {
            continue;
        }
        match take(shared, part, record, now) {
            Ok(Some(due)) => {
                let epoch = part.epoch;
                let after = due.duration_since(SystemTime::now()).unwrap_or_default();
                inner.rest(epoch, record.offset(), 0, after);
            }
            Ok(None) => {}
            Err(failed) => {
                drop(inner);
                shared.fail(failed);
                return;
            }
        }
    }
    drop(inner);
    shared.receiver.notify_one();
    if dropped > 0 {
        shared.core.note_dropped(&shared.id, dropped);
    }
}

/// Takes a record in when it is for this subscription; until when it rests.
fn take(
    shared: &Shared,
    part: &mut Part,
    record: &BorrowedMessage<'_>,
    parks: Option<SystemTime>,
) -> bus_api::Result<Option<SystemTime>> {
    let stored_at = wire::stored_at(record.timestamp());
    let position = wire::position(&part.log, record.offset(), stored_at);
    let decoded = wire::read(record, &position, &part.root, Extent::Usual)?;
    if !shared.pattern().matches(&decoded.message.topic) {
        part.pass(record.offset());
        return Ok(None);
    }
    let fetched = part.take(
        record.offset(),
        Arc::new(decoded.message),
        position,
        decoded.malformed,
        parks,
    );
    Ok(match fetched {
        Fetched::Rests(due) => Some(due),
        Fetched::Waits | Fetched::Passed | Fetched::Again => None,
    })
}

fn note_error(shared: &Shared, native: &KafkaError, doubts: &mut Doubts) {
    tracing::debug!(group = %shared.group, error = %native, "polling");
    let failed = from_client(native);
    match native.rdkafka_error_code() {
        // A topic that is not there yet, or not any more.
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::UnknownTopicId
            | RDKafkaErrorCode::OffsetOutOfRange,
        ) => doubts.all(shared),
        _ if is_final(&failed) => shared.fail(failed),
        _ => {}
    }
}
