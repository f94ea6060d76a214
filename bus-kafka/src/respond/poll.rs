//! The thread of a responder: its group, and which partitions are read from where.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bus_api::Result;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::Shared;
use super::partition::{Partition, as_final};
use crate::config::Config;
use crate::error::{from_client, is_final};
use crate::link::{Link, as_link};
use crate::sys::{self, Commit, Element, When};
use crate::{flow, rebalance};

/// The note beside a commit of a partition that nobody has, and how that of one begins that somebody has.
const CLEAN: &[u8] = b"1 clean";
const OPEN: &str = "1 open ";
/// How long the thread waits for news of its group before it looks for other work.
const STEP: Duration = Duration::from_millis(20);
/// How long a question or a commit may take on this thread.
const QUESTION: Duration = Duration::from_secs(5);
/// How long a responder may be silent before others answer in its place, at least.
const SESSION: Duration = Duration::from_secs(3);
/// Requests of a partition that wait in this process, about.
const MOST_WAITING: &str = "1000";

pub(super) struct Context {
    link: Link,
    shared: Weak<Shared>,
    assigned: Mutex<Vec<TopicPartitionList>>,
}

as_link!(Context);

impl Context {
    /// What the group has given, and is not read yet.
    fn assigned(&self) -> MutexGuard<'_, Vec<TopicPartitionList>> {
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_assigned(&self) -> Vec<TopicPartitionList> {
        std::mem::take(&mut *self.assigned())
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let mut assigned = self.assigned();
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
        if let Some(shared) = shared {
            let is_given = |partition| {
                partitions
                    .find_partition(&shared.requests, partition)
                    .is_some()
            };
            let given = shared.give_up(is_given);
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
        .set("auto.offset.reset", "latest");
    flow::bound(&mut client);
    client.set("queued.min.messages", MOST_WAITING);
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

/// Serves the group until the responder leaves.
pub(super) fn run(shared: &Shared, consumer: &Arc<BaseConsumer<Context>>) {
    while !shared.is_over() {
        assign(shared, consumer);
        // Requests have queues of their own.
        if let Some(Err(native)) = consumer.poll(STEP)
            && let Some(failed) = as_final(&native)
        {
            shared.fail(failed);
        }
    }
    let given = shared.give_up(|_| true);
    commit(shared, consumer, &given, CLEAN);
    // What the client library still waits for: otherwise closing the consumer would wait for ever.
    for partitions in consumer.context().take_assigned() {
        rebalance::assign_unread(consumer, &partitions);
    }
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
fn assign(shared: &Shared, consumer: &Arc<BaseConsumer<Context>>) {
    let mut assigned = consumer.context().take_assigned().into_iter();
    while let Some(partitions) = assigned.next() {
        match start(shared, consumer, &partitions) {
            Ok(()) => {
                shared.joined.send_replace(true);
            }
            Err(failed) if is_final(&failed) => shared.fail(failed),
            Err(failed) => {
                tracing::debug!(error = %failed, "the start of requests cannot be read yet");
                let mut waiting = consumer.context().assigned();
                waiting.push(partitions);
                waiting.extend(assigned);
                return;
            }
        }
    }
}

fn start(
    shared: &Shared,
    consumer: &Arc<BaseConsumer<Context>>,
    partitions: &TopicPartitionList,
) -> Result<()> {
    let mut list = TopicPartitionList::new();
    let mut positions = Vec::new();
    if partitions.count() > 0 {
        let committed = sys::committed(consumer, partitions.clone(), QUESTION)?;
        let asked = sys::elements(partitions)
            .into_iter()
            .map(|element| (element.topic, element.partition, When::Latest));
        let ends = sys::list_offsets(shared.core.client(), asked, QUESTION)?;
        for element in committed {
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
    let mut started = Vec::new();
    for (number, from) in &positions {
        // Before it is fetched from: what has come already would be in the queue of the whole consumer.
        let partition =
            Partition::start(consumer, &shared.requests, *number, *from, &shared.receiver);
        started.extend(partition);
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
    shared.lock().partitions.extend(started);
    shared.receiver.notify_one();
    Ok(())
}
