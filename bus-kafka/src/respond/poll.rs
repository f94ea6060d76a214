//! The thread that reads requests.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use bus_api::cloudevents::Extent;
use bus_api::{IncomingRequest, ReplyTo, Result, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::time::Instant;

use super::{Shared, Waiting};
use crate::config::Config;
use crate::error::{from_client, is_final};
use crate::link::{Link, as_link};
use crate::rebalance::{self, Flow};
use crate::request::{DEADLINE, REPLY_TO, TIMEOUT};
use crate::sys::{self, Commit, Element, When};
use crate::wire;

/// The note beside a commit of a partition that nobody has, and how that of one begins that somebody has.
const CLEAN: &[u8] = b"1 clean";
const OPEN: &str = "1 open ";
/// How long the thread waits for a request before it looks for other work.
const STEP: Duration = Duration::from_millis(20);
/// How long a question or a commit may take on this thread.
const QUESTION: Duration = Duration::from_secs(5);
/// How long a responder may be silent before others answer in its place, at least.
const SESSION: Duration = Duration::from_secs(3);
/// Requests that wait in this process, at most.
const MOST_WAITING: usize = 1_000;

pub(super) struct Context {
    link: Link,
    shared: Weak<Shared>,
    assigned: Mutex<Vec<TopicPartitionList>>,
}

as_link!(Context, link);

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let mut assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = self.shared.upgrade();
        if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            if shared.is_none_or(|shared| shared.is_over()) {
                // Nobody will come back to it: closing waits for this call, and takes it back.
                rebalance::assign_unread(consumer, partitions);
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
        if let Some(shared) = shared {
            let given = shared.give_up(&numbers);
            if consumer.assignment_lost() {
                // Unless somebody else has them in between, they are gone on with.
                shared.lock().kept.extend(given);
            } else {
                commit(&shared, consumer, &given, CLEAN);
            }
        }
        rebalance::unassign(consumer, partitions);
    }
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

pub(super) fn consumer(shared: &Arc<Shared>) -> Result<BaseConsumer<Context>> {
    let core = &shared.core;
    let limits = core.limits();
    let session = SESSION.max(limits.min_session).min(limits.max_session);
    let mut client = core.config.client();
    client
        .set("group.id", &shared.group)
        .set("auto.offset.reset", "latest")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.max.messages.kbytes", "8192");
    core.config.in_group(&mut client, session);
    core.config.finish(&mut client);
    if core.config.has_consumer_protocol() {
        // In it, one that is given no partition does not hear that it was taken in.
        Config::in_classic_group(&mut client, session);
    }
    let context = Context {
        link: core.link(),
        shared: Arc::downgrade(shared),
        assigned: Mutex::default(),
    };
    client
        .create_with_context(context)
        .map_err(|native| from_client(&native))
}

/// Reads until the responder leaves.
pub(super) fn run(shared: &Shared, consumer: &BaseConsumer<Context>) {
    let mut flow = Flow::default();
    while !shared.is_over() {
        assign(shared, consumer);
        let full = shared.lock().buffer.len() >= MOST_WAITING;
        flow.control(consumer, full, !full);
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

impl Shared {
    /// The note beside the commits of what this responder has.
    fn open_note(&self) -> String {
        format!("{OPEN}{}", self.id)
    }

    /// Where to go on: where the last responder left in order; where this one was when its session ended, if
    /// nobody had the partition since; else from now on.
    fn resume(&self, committed: &Element, end: i64) -> i64 {
        let kept = self.lock().kept.remove(&committed.partition);
        if committed.offset >= 0 && committed.metadata == CLEAN {
            return committed.offset.min(end);
        }
        kept.filter(|_| committed.metadata == self.open_note().as_bytes())
            .map_or(end, |kept| kept.min(end))
    }
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
            let from = shared.resume(&element, end);
            list.add_partition_offset(&element.topic, element.partition, Offset::Offset(from))
                .map_err(|native| from_client(&native))?;
            positions.push((element.partition, from));
        }
    }
    rebalance::assign(consumer, &list).map_err(|native| from_client(&native))?;
    // Before the first request is handed out.
    let open = shared.open_note();
    while !commit(shared, consumer, &positions, open.as_bytes()) {
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
    let (mut reply_to, mut timeout, mut deadline) = (None, None, None);
    for (name, value) in sys::headers(record)? {
        let text = std::str::from_utf8(value).ok();
        if name == REPLY_TO.as_bytes() {
            reply_to = text;
        } else if name == TIMEOUT.as_bytes() {
            timeout = text.and_then(|text| text.parse::<u64>().ok());
        } else if name == DEADLINE.as_bytes() {
            deadline = text.and_then(|text| text.parse::<u64>().ok());
        }
    }
    let mut until = stored_at.checked_add(Duration::from_millis(timeout?))?;
    if let Some(deadline) = deadline {
        until = until.min(SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(deadline))?);
    }
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
