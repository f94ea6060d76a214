//! Broadcasts: every subscriber reads for itself, outside of any group, and leaves nothing behind.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bus_api::adapter::{BroadcastSettler, Leave, Leaving};
use bus_api::cloudevents::Extent;
use bus_api::{
    Delivery, Error, Inbound, Inflow, Notice, Pattern, Paused, Receipt, Receiver, Result,
    SubscriptionSpec, Topic,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::core::{Anchor, Core};
use crate::ending::Ending;
use crate::error::{closed, from_client, is_final};
use crate::flow::Flow;
use crate::interest::Follower;
use crate::link::Link;
use crate::thread;
use crate::topics::Known;
use crate::wire;

/// How long the thread waits for a message before it looks for other work.
const STEP: Duration = Duration::from_millis(20);

/// A partition that is read.
struct Reading {
    root: Topic,
    log: Arc<str>,
    id: u128,
    next: i64,
}

#[derive(Default)]
struct Inner {
    buffer: VecDeque<Delivery>,
    bytes: usize,
    ended: Option<Error>,
    delivered: u64,
    readings: HashMap<String, HashMap<i32, Reading>>,
    /// Partitions that the thread has to begin to read, or to begin anew.
    begin: Vec<(String, i32, i64)>,
}

/// What the thread and the halves of a broadcast share.
struct Shared {
    core: Arc<Core>,
    pattern: Pattern,
    max_in_flight: usize,
    inner: Mutex<Inner>,
    receiver: Notify,
    ending: Ending,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.ending.is_over() || self.core.life.is_over()
    }

    fn fail(&self, error: Error) {
        self.lock().ended.get_or_insert(error);
        self.ending.end();
        self.receiver.notify_one();
    }

    /// Reads a partition from `from` on.
    fn begin(&self, topic: &str, partition: i32, known: &Known, from: i64) {
        let Some(root) = self
            .core
            .names
            .root(topic)
            .and_then(|root| Topic::new(root).ok())
        else {
            return;
        };
        let log = self.core.log_name(topic, partition, known.id);
        let reading = Reading {
            root,
            log,
            id: known.id,
            next: from,
        };
        let mut inner = self.lock();
        inner
            .readings
            .entry(topic.to_owned())
            .or_default()
            .insert(partition, reading);
        inner.begin.push((topic.to_owned(), partition, from));
    }
}

impl Follower for Shared {
    fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    fn follow(&self, logs: &[(String, Known)]) {
        for (topic, known) in logs {
            for partition in 0..known.partitions {
                let lost = {
                    let inner = self.lock();
                    let reading = inner
                        .readings
                        .get(topic)
                        .and_then(|partitions| partitions.get(&partition));
                    match reading {
                        Some(reading) if reading.id == known.id => continue,
                        Some(reading) => Some(Arc::clone(&reading.log)),
                        None => None,
                    }
                };
                if let Some(log) = lost {
                    self.core.life.notices().report(Notice::LogLost { log });
                }
                self.begin(topic, partition, known, 0);
            }
        }
    }
}

/// When both halves are dropped, the thread ends.
struct Handle {
    shared: Arc<Shared>,
    _anchor: Arc<Anchor>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.ending.end();
    }
}

pub(crate) async fn subscribe(
    anchor: &Arc<Anchor>,
    leaving: &Leaving,
    spec: &SubscriptionSpec,
) -> Result<Inbound> {
    let core = &anchor.0;
    core.prepare_logs(&spec.pattern).await?;
    // New topics are heard of through the registry.
    core.follow_registry().await?;
    let logs = core.logs_of(&spec.pattern).await?;
    let from = core.resolve(&spec.start, &logs).await?;
    let shared = Arc::new(Shared {
        core: Arc::clone(core),
        pattern: spec.pattern.clone(),
        max_in_flight: spec.max_in_flight,
        inner: Mutex::default(),
        receiver: Notify::new(),
        ending: Ending::default(),
    });
    for from in from {
        if let Some((_, known)) = logs.iter().find(|(topic, _)| *topic == from.topic) {
            shared.begin(&from.topic, from.partition, known, from.offset);
        }
    }
    let consumer = consumer(core)?;
    let handle = Arc::new(Handle {
        shared: Arc::clone(&shared),
        _anchor: Arc::clone(anchor),
    });
    let thread = Arc::clone(&shared);
    thread::start("broadcast", move || {
        run(&thread, &consumer);
        drop(consumer);
        thread.ending.finished();
        thread.receiver.notify_one();
    })?;
    let follower: std::sync::Weak<dyn Follower> =
        Arc::downgrade(&(Arc::clone(&shared) as Arc<dyn Follower>));
    core.add_follower(follower);
    leaving.add(&shared);
    Ok(Inbound {
        receiver: Box::new(BroadcastReceiver {
            shared: Arc::clone(&shared),
            _handle: Arc::clone(&handle),
        }),
        settler: Arc::new(BroadcastSettler::new(handle)),
        lease: spec.lease,
        paused: Paused::never(),
    })
}

fn consumer(core: &Core) -> Result<BaseConsumer<Link>> {
    let mut client = core.outside_of_groups();
    // A partition that is added waits for the fetch that is under way.
    client.set("fetch.wait.max.ms", "100");
    core.config.finish(&mut client);
    client
        .create_with_context(core.link())
        .map_err(|native| from_client(&native))
}

fn run(shared: &Shared, consumer: &BaseConsumer<Link>) {
    let mut flow = match Flow::new(consumer, shared.max_in_flight) {
        Ok(flow) => flow,
        Err(failed) => return shared.fail(failed),
    };
    while !shared.is_over() {
        begin(shared, consumer, &flow);
        control_flow(shared, &mut flow);
        poll(shared, consumer);
    }
}

fn begin(shared: &Shared, consumer: &BaseConsumer<Link>, flow: &Flow<'_>) {
    let begin = std::mem::take(&mut shared.lock().begin);
    if begin.is_empty() {
        return;
    }
    let (mut old, mut new) = (TopicPartitionList::new(), TopicPartitionList::new());
    let assigned = consumer.assignment().unwrap_or_default();
    for (topic, partition, from) in &begin {
        if assigned.find_partition(topic, *partition).is_some() {
            old.add_partition(topic, *partition);
        }
        if let Err(native) = new.add_partition_offset(topic, *partition, Offset::Offset(*from)) {
            shared.fail(from_client(&native));
        }
    }
    if let Err(failed) = read(consumer, flow, &old, &new) {
        tracing::debug!(error = %failed, "a broadcast cannot begin to read");
        shared.lock().begin.extend(begin);
    }
}

/// Reads `new` from where it says; of it `old` was read before.
fn read(
    consumer: &BaseConsumer<Link>,
    flow: &Flow<'_>,
    old: &TopicPartitionList,
    new: &TopicPartitionList,
) -> Result<()> {
    if old.count() > 0 {
        consumer
            .incremental_unassign(old)
            .map_err(|native| from_client(&native))?;
    }
    flow.add(consumer, new)?;
    consumer
        .incremental_assign(new)
        .map_err(|native| from_client(&native))
}

fn control_flow(shared: &Shared, flow: &mut Flow<'_>) {
    let (waiting, bytes) = {
        let inner = shared.lock();
        (inner.buffer.len(), inner.bytes)
    };
    flow.control(waiting, bytes);
}

fn poll(shared: &Shared, consumer: &BaseConsumer<Link>) {
    match consumer.poll(STEP) {
        Some(Ok(first)) => {
            shared.core.life.reached();
            let mut inner = shared.lock();
            let mut next = Some(first);
            while let Some(record) = next {
                if let Err(failed) = take(shared, &mut inner, &record) {
                    drop(inner);
                    shared.fail(failed);
                    return;
                }
                next = match consumer.poll(Duration::ZERO) {
                    Some(Ok(record)) => Some(record),
                    Some(Err(native)) => {
                        drop(inner);
                        note(shared, &native);
                        shared.receiver.notify_one();
                        return;
                    }
                    None => None,
                };
            }
            drop(inner);
            shared.receiver.notify_one();
        }
        Some(Err(native)) => note(shared, &native),
        None => {}
    }
}

fn note(shared: &Shared, native: &KafkaError) {
    tracing::debug!(error = %native, "reading a broadcast");
    let failed = from_client(native);
    if is_final(&failed) {
        shared.fail(failed);
    }
}

fn take(shared: &Shared, inner: &mut Inner, record: &BorrowedMessage<'_>) -> Result<()> {
    let Some(reading) = inner
        .readings
        .get_mut(record.topic())
        .and_then(|partitions| partitions.get_mut(&record.partition()))
    else {
        return Ok(());
    };
    if record.offset() < reading.next {
        return Ok(());
    }
    reading.next = record.offset() + 1;
    let stored_at = wire::stored_at(record.timestamp());
    let position = wire::position(&reading.log, record.offset(), stored_at);
    let decoded = wire::read(record, &position, &reading.root, Extent::Usual)?;
    if !shared.pattern.matches(&decoded.message.topic) {
        return Ok(());
    }
    inner.delivered += 1;
    inner.bytes += decoded.message.size();
    let delivery = Delivery {
        receipt: Receipt {
            slot: u64::try_from(record.offset()).unwrap_or(0),
            epoch: inner.delivered,
        },
        message: Arc::new(decoded.message),
        position,
        delivery: 1,
        redelivered: false,
        not_before: None,
        record: None,
        malformed: decoded.malformed,
    };
    inner.buffer.push_back(delivery);
    Ok(())
}

struct BroadcastReceiver {
    shared: Arc<Shared>,
    _handle: Arc<Handle>,
}

#[async_trait]
impl Receiver for BroadcastReceiver {
    async fn receive(&mut self, max: usize) -> Result<Inflow> {
        loop {
            let woken = self.shared.receiver.notified();
            {
                let mut inner = self.shared.lock();
                if let Some(ended) = &inner.ended {
                    return Err(ended.clone());
                }
                if self.shared.is_over() {
                    return Err(closed());
                }
                let count = max.min(inner.buffer.len());
                if count > 0 {
                    let deliveries: Vec<Delivery> = inner.buffer.drain(..count).collect();
                    let bytes: usize = deliveries.iter().map(|one| one.message.size()).sum();
                    inner.bytes = inner.bytes.saturating_sub(bytes);
                    return Ok(Inflow::Deliveries(deliveries));
                }
            }
            tokio::select! {
                () = woken => {}
                () = self.shared.core.life.ended() => {}
            }
        }
    }
}

#[async_trait]
impl Leave for Shared {
    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.ending.end();
        self.receiver.notify_one();
        self.ending.wait(&self.core.life, deadline).await
    }
}

#[async_trait]
impl Leave for Handle {
    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.shared.leave(deadline).await
    }
}
