//! The thread that polls: fetching, rebalancing, pausing. Nothing that takes long happens here, so that the
//! group never takes the member for dead because its handlers are slow.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bus_api::cloudevents::Extent;
use bus_api::{ErrorKind, Inflow, Notice, Topic};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::time::Instant;

use super::committer;
use super::metadata::Statement;
use super::partition::{Fetched, Part};
use super::shared::{Shared, Stage};
use crate::core::Link;
use crate::error::{from_client, is_final};
use crate::sys::{self, Element};
use crate::topics::incarnation;
use crate::wire;

/// How long the thread waits for a message before it looks for other work.
const STEP: Duration = Duration::from_millis(20);
/// Messages taken under one lock.
const BATCH: usize = 500;
/// Messages that wait before fetching pauses, at least.
const MOST_WAITING: usize = 2_000;
/// Bytes that wait before fetching pauses.
const MOST_BYTES: usize = 8 << 20;
/// How long running handlers are waited for before a partition goes to another member.
const HANDLERS: Duration = Duration::from_secs(30);
/// How late the brokers learn of messages that were handed out, or passed by, without anything being settled.
const PROGRESS: Duration = Duration::from_millis(100);
/// How long a leaving member takes part in a rebalance that is under way.
const CALM: Duration = Duration::from_millis(400);
/// How long a question about committed offsets may take on this thread.
const QUESTION: Duration = Duration::from_secs(5);

/// Hears of rebalances.
pub(crate) struct Context {
    link: Link,
    shared: Arc<Shared>,
    halted: AtomicBool,
    rebalanced: Mutex<Option<Instant>>,
}

impl Context {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            link: shared.core.link(),
            shared: Arc::clone(shared),
            halted: AtomicBool::new(false),
            rebalanced: Mutex::default(),
        }
    }

    /// This consumer is not used any more.
    pub(super) fn halt(&self) {
        self.halted.store(true, Ordering::Release);
        self.shared.work.notify_all();
    }

    /// Whether the group rebalances, or has just done so.
    fn is_rebalancing(&self) -> bool {
        const RECENT: Duration = Duration::from_secs(1);
        self.rebalanced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|at| at.elapsed() < RECENT)
    }

    pub(super) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.link.log(level, facility, text);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, native: KafkaError, reason: &str) {
        self.link.error(native, reason);
    }
}

impl ConsumerContext for Context {
    /// Runs inside `poll`, on the polling thread. The work is done by the loop: here it is only noted, because
    /// the client library waits for `assign` and `unassign` as long as it takes.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let shared = &self.shared;
        let mut rebalanced = self
            .rebalanced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *rebalanced = Some(Instant::now());
        drop(rebalanced);
        if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            tracing::debug!(group = %shared.group, count = partitions.count(), "assigned");
            if self.is_halted() {
                // Nobody will come back to it: closing waits for this call, and takes it back.
                assign_unread(consumer, partitions);
            } else {
                shared.todo().assigned.push(partitions.clone());
            }
            return;
        }
        let lost = consumer.assignment_lost();
        tracing::debug!(group = %shared.group, count = partitions.count(), lost, "revoked");
        if lost || self.is_halted() {
            let mut todo = shared.todo();
            todo.assigned.clear();
            todo.revoked.clear();
            drop(todo);
            let mut inner = shared.lock();
            for element in sys::elements(partitions) {
                inner.remove(&element.topic, element.partition, true);
            }
            drop(inner);
            shared.receiver.notify_one();
            unassign(consumer, partitions);
            return;
        }
        let by = Instant::now() + HANDLERS;
        let mut inner = shared.lock();
        let mut receipts = Vec::new();
        for element in sys::elements(partitions) {
            if let Some(part) = inner.part(&element.topic, element.partition) {
                receipts.extend(part.revoke(by));
            }
        }
        if !receipts.is_empty() {
            inner.news.push_back(Inflow::Reclaim { receipts, by });
        }
        drop(inner);
        shared.receiver.notify_one();
        shared.todo().revoked.push((partitions.clone(), by));
    }
}

fn is_cooperative(consumer: &BaseConsumer<Context>) -> bool {
    matches!(
        consumer.rebalance_protocol(),
        RebalanceProtocol::Cooperative
    )
}

fn unassign(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) {
    let done = if is_cooperative(consumer) {
        consumer.incremental_unassign(partitions)
    } else {
        consumer.unassign()
    };
    if let Err(native) = done {
        tracing::debug!(error = %native, "unassigning");
    }
}

/// Takes partitions that will not be read.
fn assign_unread(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) {
    let done = if is_cooperative(consumer) {
        consumer.incremental_assign(partitions)
    } else {
        consumer.assign(partitions)
    };
    if let Err(native) = done {
        tracing::debug!(error = %native, "assigning before leaving");
    }
}

/// Answers what the client library still waits for: otherwise closing the consumer would wait for ever.
pub(super) fn let_go(shared: &Shared, consumer: &BaseConsumer<Context>) {
    let (assigned, revoked) = {
        let mut todo = shared.todo();
        (
            std::mem::take(&mut todo.assigned),
            std::mem::take(&mut todo.revoked),
        )
    };
    for partitions in assigned {
        assign_unread(consumer, &partitions);
    }
    for (partitions, _) in revoked {
        unassign(consumer, &partitions);
    }
    // A client that is closed while it is about to join again does not leave: the others would wait for it
    // until its session ends.
    let until = Instant::now() + CALM;
    while consumer.context().is_rebalancing() && Instant::now() < until {
        drop(consumer.poll(STEP));
    }
}

/// Polls until the member leaves, has to join anew, or the connection ends.
pub(super) fn run(shared: &Arc<Shared>, consumer: &Arc<BaseConsumer<Context>>) {
    let mut paused = false;
    let mut doubts = Doubts::default();
    let mut last_commit = Instant::now();
    while shared.stage() < Stage::Leaving && !shared.core.life.is_over() && !shared.todo().rejoin {
        subscribe(shared, consumer);
        finish_assigning(shared, consumer);
        finish_revoking(shared, consumer);
        start_recreated(shared, consumer);
        control_flow(shared, consumer, &mut paused);
        if last_commit.elapsed() > PROGRESS {
            last_commit = Instant::now();
            note_progress(shared);
        }
        doubts.settle(shared, consumer);
        poll(shared, consumer, &mut doubts);
    }
}

/// Topics that may have been deleted and made anew: nothing is taken of them until that is known.
#[derive(Default)]
struct Doubts {
    topics: HashSet<String>,
    asked: Option<Instant>,
}

impl Doubts {
    /// How often the brokers are asked.
    const SPACING: Duration = Duration::from_millis(100);

    fn settle(&mut self, shared: &Shared, consumer: &BaseConsumer<Context>) {
        let soon = self.asked.is_some_and(|at| at.elapsed() < Self::SPACING);
        if self.topics.is_empty() || soon {
            return;
        }
        self.asked = Some(Instant::now());
        let names: Vec<String> = self.topics.iter().cloned().collect();
        let Ok(found) = sys::describe_topics(shared.core.client(), &names, QUESTION) else {
            return;
        };
        for topic in found {
            // One that is gone may come back.
            let Some((id, partitions)) = topic.found else {
                continue;
            };
            let known = shared.core.topics.note(&topic.name, id, partitions);
            shared.todo().recreated.push((topic.name.clone(), known));
            self.go_on(shared, consumer, &topic.name, incarnation(id));
        }
    }

    /// The log is the same: reading goes on where it was left.
    fn go_on(&mut self, shared: &Shared, consumer: &BaseConsumer<Context>, topic: &str, mark: u32) {
        self.topics.remove(topic);
        let places: Vec<(i32, i64)> = {
            let inner = shared.lock();
            inner
                .parts
                .values()
                .filter(|part| part.topic == topic && part.incarnation == mark)
                .map(|part| (part.partition, part.fetched))
                .collect()
        };
        for (partition, next) in places {
            if let Err(native) = consumer.seek(topic, partition, Offset::Offset(next), QUESTION) {
                tracing::debug!(error = %native, "seeking in a log that was in doubt");
            }
        }
    }

    /// All topics of the member are in doubt.
    fn all(&mut self, shared: &Shared) {
        let inner = shared.lock();
        self.topics
            .extend(inner.parts.values().map(|part| part.topic.clone()));
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

/// Reads what is committed of new partitions, and lets them fetch from there.
fn finish_assigning(shared: &Shared, consumer: &BaseConsumer<Context>) {
    let assigned = std::mem::take(&mut shared.todo().assigned);
    for partitions in assigned {
        match assign(shared, consumer, &partitions) {
            Ok(()) => shared.advance(Stage::Joined),
            Err(failed) if is_final(&failed) => {
                shared.fail(failed);
            }
            Err(failed) => {
                tracing::debug!(error = %failed, "what is committed cannot be read yet");
                shared.todo().assigned.push(partitions);
                return;
            }
        }
    }
}

fn assign(
    shared: &Shared,
    consumer: &BaseConsumer<Context>,
    partitions: &TopicPartitionList,
) -> bus_api::Result<()> {
    let core = &shared.core;
    let registry = core.names.registry();
    let mut start = TopicPartitionList::new();
    if partitions.count() > 0 {
        let committed = consumer
            .committed_offsets(partitions.clone(), QUESTION)
            .map_err(|native| from_client(&native))?;
        let committed = sys::elements(&committed);
        let mut names: Vec<String> = committed
            .iter()
            .map(|element| element.topic.clone())
            .filter(|name| *name != registry)
            .collect();
        names.dedup();
        let topics = sys::describe_topics(core.client(), &names, QUESTION)?;
        let topics: HashMap<String, u128> = topics
            .into_iter()
            .filter_map(|topic| Some((topic.name, topic.found?.0)))
            .collect();
        let mut parts = Vec::new();
        for element in committed {
            if element.topic == registry {
                add(&mut start, &element.topic, element.partition, Offset::End)?;
                continue;
            }
            let id = topics.get(&element.topic).copied().unwrap_or(0);
            let part = part(shared, &element, id, partitions.count())?;
            let from = match (&part, element.offset) {
                (Some(part), _) if part.fetched > 0 => Offset::Offset(part.fetched),
                _ => Offset::Beginning,
            };
            add(&mut start, &element.topic, element.partition, from)?;
            parts.extend(part);
        }
        let mut inner = shared.lock();
        for mut part in parts {
            inner.remove(&part.topic.clone(), part.partition, true);
            part.epoch = inner.epoch();
            inner.add(part);
        }
    }
    let done = if is_cooperative(consumer) {
        consumer.incremental_assign(&start)
    } else {
        consumer.assign(&start)
    };
    done.map_err(|native| from_client(&native))
}

fn add(
    list: &mut TopicPartitionList,
    topic: &str,
    partition: i32,
    offset: Offset,
) -> bus_api::Result<()> {
    list.add_partition_offset(topic, partition, offset)
        .map_err(|native| from_client(&native))
}

/// A partition as its last owner left it.
fn part(
    shared: &Shared,
    committed: &Element,
    id: u128,
    partitions: usize,
) -> bus_api::Result<Option<Part>> {
    let Some(root) = root(shared, &committed.topic) else {
        return Ok(None);
    };
    let mark = incarnation(id);
    let mut statement = if committed.offset < 0 {
        Statement::plain(mark, 0)
    } else if committed.metadata.is_empty() {
        Statement::plain(mark, committed.offset)
    } else {
        match Statement::decode(committed.offset, &committed.metadata) {
            Ok(statement) => statement,
            Err(failed) if failed.kind() == ErrorKind::Unsupported => return Err(failed),
            // Another tool has set the offset, with a note of its own.
            Err(_) => Statement::plain(mark, committed.offset),
        }
    };
    let log = shared
        .core
        .log_name(&committed.topic, committed.partition, id);
    if statement.incarnation != mark {
        let log = Arc::clone(&log);
        shared.core.life.notices().report(Notice::LogLost { log });
        statement = Statement::plain(mark, 0);
    }
    let width = shared.max_in_flight / partitions.max(1);
    Ok(Some(Part::new(
        committed.topic.clone(),
        committed.partition,
        root,
        log,
        0,
        statement,
        width,
    )))
}

fn root(shared: &Shared, topic: &str) -> Option<Topic> {
    Topic::new(shared.core.names.root(topic)?).ok()
}

/// Gives partitions away whose handlers have ended, or took too long.
fn finish_revoking(shared: &Shared, consumer: &BaseConsumer<Context>) {
    let revoked = std::mem::take(&mut shared.todo().revoked);
    for (partitions, by) in revoked {
        let elements = sys::elements(&partitions);
        let mut epochs = Vec::new();
        let busy = {
            let mut inner = shared.lock();
            let mut busy = false;
            for element in &elements {
                if let Some(part) = inner.part(&element.topic, element.partition) {
                    busy |= part.out > 0;
                    epochs.push(part.epoch);
                }
            }
            busy
        };
        if busy && Instant::now() < by {
            shared.todo().revoked.push((partitions, by));
            continue;
        }
        let chosen = |_, epoch: u64| epochs.contains(&epoch);
        if !epochs.is_empty() {
            committer::commit(shared, consumer, chosen, true);
        }
        let mut inner = shared.lock();
        for element in &elements {
            inner.remove(&element.topic, element.partition, true);
        }
        drop(inner);
        shared.receiver.notify_one();
        unassign(consumer, &partitions);
    }
}

/// Starts topics anew that were deleted and made again.
fn start_recreated(shared: &Shared, consumer: &BaseConsumer<Context>) {
    let recreated = std::mem::take(&mut shared.todo().recreated);
    for (topic, known) in recreated {
        let Some(root) = root(shared, &topic) else {
            continue;
        };
        for partition in 0..known.partitions {
            let mark = incarnation(known.id);
            let mut inner = shared.lock();
            match inner.part(&topic, partition) {
                Some(part) if part.incarnation != mark && part.revoked.is_none() => {}
                _ => continue,
            }
            inner.remove(&topic, partition, true);
            let log = shared.core.log_name(&topic, partition, known.id);
            let statement = Statement::plain(mark, 0);
            let epoch = inner.epoch();
            let (name, width) = (topic.clone(), shared.max_in_flight);
            let mut part = Part::new(
                name,
                partition,
                root.clone(),
                Arc::clone(&log),
                epoch,
                statement,
                width,
            );
            // What the broker kept of the old log must not count for the new one.
            part.touch();
            inner.add(part);
            drop(inner);
            shared.core.life.notices().report(Notice::LogLost { log });
            if let Err(native) = consumer.seek(&topic, partition, Offset::Beginning, QUESTION) {
                tracing::debug!(error = %native, "seeking to the start of a new log");
            }
        }
        shared.receiver.notify_one();
    }
}

/// Pauses fetching while enough waits.
fn control_flow(shared: &Shared, consumer: &BaseConsumer<Context>, paused: &mut bool) {
    let (waiting, bytes) = {
        let inner = shared.lock();
        (inner.waiting(), inner.buffered)
    };
    let most = MOST_WAITING.max(shared.max_in_flight * 2);
    let full = waiting >= most || bytes >= MOST_BYTES;
    let low = waiting < most / 2 && bytes < MOST_BYTES / 2;
    let wanted = if *paused { !low } else { full };
    // While paused again and again: new partitions are not paused by themselves.
    if wanted || *paused {
        let Ok(assignment) = consumer.assignment() else {
            return;
        };
        let done = if wanted {
            consumer.pause(&assignment)
        } else {
            consumer.resume(&assignment)
        };
        if done.is_ok() {
            *paused = wanted;
        }
    }
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
        return;
    }
    shared.core.life.reached();
    let now = shared.parks().then(SystemTime::now);
    let mut dropped = 0;
    let mut inner = shared.lock();
    for record in &batch {
        let Some(part) = inner.part(record.topic(), record.partition()) else {
            continue;
        };
        if part.revoked.is_some() || doubts.topics.contains(record.topic()) {
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
            Ok(Some((size, rests))) => {
                let epoch = part.epoch;
                inner.buffered += size;
                if let Some(due) = rests {
                    let after = due.duration_since(SystemTime::now()).unwrap_or_default();
                    inner.rest(epoch, record.offset(), 0, after);
                }
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

/// Takes a record in. `None`: it is not for this subscription. Else its size, and until when it rests.
fn take(
    shared: &Shared,
    part: &mut Part,
    record: &BorrowedMessage<'_>,
    parks: Option<SystemTime>,
) -> bus_api::Result<Option<(usize, Option<SystemTime>)>> {
    let stored_at = wire::stored_at(record.timestamp());
    let position = wire::position(&part.log, record.offset(), stored_at);
    let decoded = wire::read(record, &position, &part.root, Extent::Usual)?;
    if !shared.pattern().matches(&decoded.message.topic) {
        part.pass(record.offset());
        return Ok(None);
    }
    let size = decoded.message.size();
    let fetched = part.take(
        record.offset(),
        Arc::new(decoded.message),
        position,
        decoded.malformed,
        parks,
    );
    Ok(match fetched {
        Fetched::Rests(due) => Some((0, Some(due))),
        Fetched::Waits => Some((size, None)),
        Fetched::Passed | Fetched::Again => None,
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
