//! Answering: responders of a group share the requests of the namespace by partitions.
//!
//! A request is handed out at most once. Positions are therefore not committed after the handling but when a
//! partition changes hands in order: "clean", with the next request. While a responder has a partition, its
//! commit says "open"; whoever finds that, after a crash, goes on with what comes later, and the requests in
//! between time out.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bus_api::adapter::{Leave, Leaving};
use bus_api::cloudevents::Extent;
use bus_api::{
    Error, ErrorKind, IncomingRequest, Message, Pattern, Replier, ReplyTo, RequestReceiver,
    Requests, ResponderSpec, Result, Topic,
};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::core::{Anchor, Core, Link};
use crate::error::{closed, error, from_client, is_final};
use crate::member::leave_group;
use crate::request::{Address, REPLY_TO, TIMEOUT};
use crate::sys::{self, Commit, Element, When};
use crate::topics::Purpose;
use crate::wire::{self, Record};

/// The newest version of the note beside a commit that this release reads, and the one that it writes.
const CLEAN: &[u8] = b"1 clean";
const OPEN: &[u8] = b"1 open";
/// How long the thread waits for a request before it looks for other work.
const STEP: Duration = Duration::from_millis(20);
/// How long a question or a commit may take on this thread.
const QUESTION: Duration = Duration::from_secs(5);
/// How long a responder may be silent before others answer in its place, at least.
const SESSION: Duration = Duration::from_secs(3);
/// Requests that wait in this process, at most.
const MOST_WAITING: usize = 1_000;
/// How long joining may take.
const JOINING: Duration = Duration::from_secs(15);

/// A request that waits to be handed out.
struct Waiting {
    partition: i32,
    offset: i64,
    request: IncomingRequest,
}

#[derive(Default)]
struct Inner {
    buffer: VecDeque<Waiting>,
    /// The next request of each partition that is this responder's.
    next: HashMap<i32, i64>,
    ended: Option<Error>,
}

struct Shared {
    core: Arc<Core>,
    group: String,
    pattern: Pattern,
    requests: String,
    inner: Mutex<Inner>,
    receiver: Notify,
    joined: watch::Sender<bool>,
    over: watch::Sender<bool>,
    done: watch::Sender<bool>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        *self.over.borrow() || self.core.life.is_over()
    }

    fn fail(&self, error: Error) {
        self.lock().ended.get_or_insert(error);
        self.over.send_replace(true);
        self.joined.send_replace(true);
        self.receiver.notify_one();
    }

    /// Takes partitions back: where each goes on.
    fn give_up(&self, partitions: &[i32]) -> Vec<(i32, i64)> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let mut given = Vec::new();
        for partition in partitions {
            let Some(next) = inner.next.remove(partition) else {
                continue;
            };
            let unread = inner
                .buffer
                .iter()
                .filter(|waiting| waiting.partition == *partition)
                .map(|waiting| waiting.offset)
                .min();
            given.push((*partition, unread.unwrap_or(next)));
        }
        inner
            .buffer
            .retain(|waiting| !partitions.contains(&waiting.partition));
        given
    }
}

struct Context {
    link: Link,
    shared: Arc<Shared>,
    assigned: Mutex<Vec<TopicPartitionList>>,
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
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let mut assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            if self.shared.is_over() {
                // Nobody will come back to it: closing waits for this call, and takes it back.
                if let Err(native) = consumer.incremental_assign(partitions) {
                    tracing::debug!(error = %native, "assigning before leaving");
                }
            } else {
                assigned.push(partitions.clone());
            }
            return;
        }
        assigned.clear();
        drop(assigned);
        let numbers: Vec<i32> = sys::elements(partitions)
            .iter()
            .map(|element| element.partition)
            .collect();
        let given = self.shared.give_up(&numbers);
        if !consumer.assignment_lost() {
            commit(&self.shared, consumer, &given, CLEAN);
        }
        let done = if is_cooperative(consumer) {
            consumer.incremental_unassign(partitions)
        } else {
            consumer.unassign()
        };
        if let Err(native) = done {
            tracing::debug!(error = %native, "unassigning requests");
        }
    }
}

fn is_cooperative(consumer: &BaseConsumer<Context>) -> bool {
    matches!(
        consumer.rebalance_protocol(),
        RebalanceProtocol::Cooperative
    )
}

/// Commits and waits; `false`: it is not known to be committed.
fn commit(
    shared: &Shared,
    consumer: &BaseConsumer<Context>,
    positions: &[(i32, i64)],
    note: &[u8],
) -> bool {
    if positions.is_empty() || shared.core.life.is_over() {
        return true;
    }
    let items: Vec<Element> = positions
        .iter()
        .map(|(partition, offset)| Element {
            topic: shared.requests.clone(),
            partition: *partition,
            offset: *offset,
            metadata: note.to_vec(),
            error: 0,
        })
        .collect();
    let answer = Commit::send(consumer, &items).map(|sent| sent.wait(QUESTION));
    matches!(answer, Ok(Some(Ok(each))) if each.iter().all(|element| element.error == 0))
}

pub(crate) async fn respond(
    anchor: &Arc<Anchor>,
    leaving: &Leaving,
    spec: ResponderSpec,
) -> Result<Requests> {
    let core = &anchor.0;
    let wanted = [
        (core.names.registry(), Purpose::Registry),
        (core.names.requests(), Purpose::Requests),
        (core.names.replies(), Purpose::Requests),
    ];
    core.ensure(&wanted).await?;
    let group = core.names.responders(&spec.group, &spec.pattern);
    core.register_responder(&group, &spec.group, &spec.pattern)
        .await?;
    let shared = Arc::new(Shared {
        core: Arc::clone(core),
        group,
        pattern: spec.pattern,
        requests: core.names.requests(),
        inner: Mutex::default(),
        receiver: Notify::new(),
        joined: watch::Sender::new(false),
        over: watch::Sender::new(false),
        done: watch::Sender::new(false),
    });
    let consumer = consumer(&shared)?;
    consumer
        .subscribe(&[&shared.requests])
        .map_err(|native| from_client(&native))?;
    let handle = Arc::new(Handle {
        shared: Arc::clone(&shared),
        _anchor: Arc::clone(anchor),
    });
    let thread = Arc::clone(&shared);
    std::thread::Builder::new()
        .name("bus-kafka-requests".to_owned())
        .spawn(move || {
            run(&thread, &consumer);
            if !thread.core.life.is_over() {
                leave_group(&consumer);
            }
            drop(consumer);
            thread.done.send_replace(true);
            thread.receiver.notify_one();
        })
        .map_err(|native| {
            error(ErrorKind::Internal, "no thread can be started").caused_by(native)
        })?;
    let mut joined = shared.joined.subscribe();
    tokio::select! {
        _ = joined.wait_for(|joined| *joined) => {}
        () = core.life.ended() => return Err(closed()),
        () = tokio::time::sleep(JOINING) => {
            return Err(error(
                ErrorKind::Unavailable,
                "the group has not taken the responder in; its coordinator may be away",
            ));
        }
    }
    if let Some(ended) = shared.lock().ended.clone() {
        return Err(ended);
    }
    leaving.add(&shared);
    Ok(Requests {
        receiver: Box::new(Receives {
            shared: Arc::clone(&shared),
            _handle: Arc::clone(&handle),
        }),
        replier: Arc::new(Replies {
            shared,
            _handle: handle,
        }),
    })
}

fn consumer(shared: &Arc<Shared>) -> Result<BaseConsumer<Context>> {
    let core = &shared.core;
    let limits = core.limits();
    let session = SESSION.max(limits.min_session).min(limits.max_session);
    let mut client = core.config.client();
    client
        .set("group.id", &shared.group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "latest")
        .set("session.timeout.ms", session.as_millis().to_string())
        .set("heartbeat.interval.ms", "300")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.max.messages.kbytes", "8192");
    core.config.finish(&mut client);
    let context = Context {
        link: core.link(),
        shared: Arc::clone(shared),
        assigned: Mutex::default(),
    };
    client
        .create_with_context(context)
        .map_err(|native| from_client(&native))
}

fn run(shared: &Shared, consumer: &BaseConsumer<Context>) {
    let mut paused = false;
    while !shared.is_over() {
        assign(shared, consumer);
        let full = shared.lock().buffer.len() >= MOST_WAITING;
        if (full || paused)
            && let Ok(assignment) = consumer.assignment()
        {
            let done = if full {
                consumer.pause(&assignment)
            } else {
                consumer.resume(&assignment)
            };
            if done.is_ok() {
                paused = full;
            }
        }
        let mut patience = STEP;
        while let Some(polled) = consumer.poll(patience) {
            match polled {
                Ok(record) => take(shared, &record),
                Err(native) => {
                    tracing::debug!(error = %native, "reading requests");
                    let failed = from_client(&native);
                    if is_final(&failed) {
                        shared.fail(failed);
                    }
                }
            }
            patience = Duration::ZERO;
            if shared.lock().buffer.len() >= MOST_WAITING {
                break;
            }
        }
    }
    let all: Vec<i32> = shared.lock().next.keys().copied().collect();
    let given = shared.give_up(&all);
    commit(shared, consumer, &given, CLEAN);
    // What the client library still waits for: otherwise closing the consumer would wait for ever.
    assign(shared, consumer);
}

/// Reads from where the last responder left in order, else from now on.
fn assign(shared: &Shared, consumer: &BaseConsumer<Context>) {
    let assigned = {
        let mut assigned = consumer
            .context()
            .assigned
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *assigned)
    };
    for partitions in assigned {
        match start(shared, consumer, &partitions) {
            Ok(()) => {
                shared.joined.send_replace(true);
            }
            Err(failed) if is_final(&failed) => shared.fail(failed),
            Err(failed) => {
                tracing::debug!(error = %failed, "the start of requests cannot be read yet");
                consumer
                    .context()
                    .assigned
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(partitions);
                return;
            }
        }
    }
}

fn start(
    shared: &Shared,
    consumer: &BaseConsumer<Context>,
    partitions: &TopicPartitionList,
) -> Result<()> {
    let mut list = TopicPartitionList::new();
    let mut positions = Vec::new();
    if partitions.count() > 0 {
        let committed = consumer
            .committed_offsets(partitions.clone(), QUESTION)
            .map_err(|native| from_client(&native))?;
        let asked = sys::elements(partitions)
            .into_iter()
            .map(|element| (element.topic, element.partition, When::Latest));
        let ends = sys::list_offsets(shared.core.client(), asked, QUESTION)?;
        for element in sys::elements(&committed) {
            let end = ends
                .iter()
                .find(|end| end.partition == element.partition)
                .map_or(0, |end| end.offset);
            let clean = element.offset >= 0 && element.metadata == CLEAN;
            let from = if clean { element.offset.min(end) } else { end };
            list.add_partition_offset(&element.topic, element.partition, Offset::Offset(from))
                .map_err(|native| from_client(&native))?;
            positions.push((element.partition, from));
        }
    }
    let done = if is_cooperative(consumer) {
        consumer.incremental_assign(&list)
    } else {
        consumer.assign(&list)
    };
    done.map_err(|native| from_client(&native))?;
    // Before the first request is handed out.
    while !commit(shared, consumer, &positions, OPEN) {
        if shared.is_over() || consumer.assignment_lost() {
            return Ok(());
        }
        std::thread::sleep(STEP);
    }
    shared.lock().next.extend(positions);
    Ok(())
}

fn take(shared: &Shared, record: &BorrowedMessage<'_>) {
    let mut inner = shared.lock();
    let Some(next) = inner.next.get_mut(&record.partition()) else {
        return;
    };
    *next = (*next).max(record.offset() + 1);
    match read(shared, record) {
        Some(request) => {
            inner.buffer.push_back(Waiting {
                partition: record.partition(),
                offset: record.offset(),
                request,
            });
            drop(inner);
            shared.receiver.notify_one();
        }
        None => drop(inner),
    }
}

/// A request that is for this responder and in time.
fn read(shared: &Shared, record: &BorrowedMessage<'_>) -> Option<IncomingRequest> {
    let stored_at = wire::stored_at(record.timestamp());
    let (mut reply_to, mut timeout) = (None, None);
    for (name, value) in sys::headers(record)? {
        let text = std::str::from_utf8(value).ok();
        if name == REPLY_TO.as_bytes() {
            reply_to = text;
        } else if name == TIMEOUT.as_bytes() {
            timeout = text.and_then(|text| text.parse::<u64>().ok());
        }
    }
    let until = stored_at.checked_add(Duration::from_millis(timeout?))?;
    let left = until.duration_since(SystemTime::now()).ok()?;
    let deadline = Instant::now().checked_add(left)?;
    let position = wire::position(&record.topic().into(), record.offset(), stored_at);
    let unknown = Topic::new("unknown").ok()?;
    let decoded = wire::read(record, &position, &unknown, Extent::Whole).ok()?;
    let is_wanted = shared.pattern.matches(&decoded.message.topic);
    is_wanted.then(|| IncomingRequest {
        message: Arc::new(decoded.message),
        deadline,
        reply_to: ReplyTo::new(reply_to.unwrap_or_default()),
    })
}

/// When both halves are dropped, the responder leaves.
struct Handle {
    shared: Arc<Shared>,
    _anchor: Arc<Anchor>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.over.send_replace(true);
    }
}

struct Receives {
    shared: Arc<Shared>,
    _handle: Arc<Handle>,
}

#[async_trait]
impl RequestReceiver for Receives {
    async fn receive(&mut self, max: usize) -> Result<Vec<IncomingRequest>> {
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
                let now = Instant::now();
                let mut requests = Vec::new();
                while requests.len() < max {
                    let Some(waiting) = inner.buffer.pop_front() else {
                        break;
                    };
                    if waiting.request.deadline > now {
                        requests.push(waiting.request);
                    }
                }
                if !requests.is_empty() {
                    return Ok(requests);
                }
            }
            tokio::select! {
                () = woken => {}
                () = self.shared.core.life.ended() => {}
            }
        }
    }
}

struct Replies {
    shared: Arc<Shared>,
    _handle: Arc<Handle>,
}

#[async_trait]
impl Replier for Replies {
    async fn reply(&self, batch: Vec<(ReplyTo, Message)>) -> Vec<Result<()>> {
        let core = &self.shared.core;
        let topic = core.names.replies();
        let partitions = core
            .topics
            .known(&topic)
            .map_or(0, |known| known.partitions);
        let (mut records, mut results) = (Vec::new(), Vec::new());
        for (reply_to, message) in &batch {
            let Some(address) = Address::read(reply_to, &topic, partitions) else {
                tracing::warn!("a reply to an address outside of the namespace was refused");
                results.push(Err(error(
                    ErrorKind::InvalidArgument,
                    "the address of the requester is not one of this namespace; nothing was sent",
                )));
                continue;
            };
            records.push(Record {
                topic: topic.clone(),
                partition: Some(address.partition),
                key: Some(address.id.to_owned().into()),
                headers: wire::headers(message, Extent::Whole),
                payload: Some(message.payload.clone()),
            });
            results.push(Ok(()));
        }
        let Some(publisher) = core.publisher.get() else {
            return vec![Err(closed()); batch.len()];
        };
        let mut written = publisher.write(core, records).await.into_iter();
        for result in results.iter_mut().filter(|result| result.is_ok()) {
            *result = written.next().unwrap_or_else(|| Err(closed())).map(drop);
        }
        results
    }

    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.shared.leave(deadline).await
    }
}

#[async_trait]
impl Leave for Shared {
    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.over.send_replace(true);
        self.receiver.notify_one();
        let mut done = self.done.subscribe();
        let ended = done.wait_for(|done| *done);
        tokio::select! {
            _ = ended => Ok(()),
            () = self.core.life.ended() => Err(closed()),
            () = tokio::time::sleep_until(deadline) => Err(error(
                ErrorKind::Timeout,
                "the responder had not left the group at the deadline",
            )),
        }
    }
}
