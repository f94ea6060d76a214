//! What a member hears of rebalances of its group.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use tokio::time::Instant;

use super::shared::Shared;
use crate::link::{Link, as_link};
use crate::rebalance::{assign_unread, unassign};
use crate::sys;

/// How long running handlers are waited for before a partition goes to another member.
const HANDLERS: Duration = Duration::from_secs(30);
/// How long a leaving member takes part in a rebalance that is under way.
const CALM: Duration = Duration::from_millis(400);
/// How long a wait for an event of the group takes at a time.
const STEP: Duration = Duration::from_millis(20);

/// Hears of rebalances.
pub(crate) struct Context {
    link: Link,
    /// Closing a client may wait for brokers that are away; the connection is not kept for it.
    shared: Weak<Shared>,
    halted: AtomicBool,
    rebalanced: Mutex<Option<Instant>>,
}

impl Context {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            link: shared.core.link(),
            shared: Arc::downgrade(shared),
            halted: AtomicBool::new(false),
            rebalanced: Mutex::default(),
        }
    }

    /// This consumer is not used any more.
    pub(super) fn halt(&self) {
        self.halted.store(true, Ordering::Release);
    }

    /// When the group was heard of last.
    pub(super) fn rebalanced(&self) -> Option<Instant> {
        *self
            .rebalanced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the group rebalances, or has just done so.
    fn is_rebalancing(&self) -> bool {
        const RECENT: Duration = Duration::from_secs(1);
        self.rebalanced().is_some_and(|at| at.elapsed() < RECENT)
    }

    pub(super) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }
}

as_link!(Context);

impl ConsumerContext for Context {
    /// Runs inside `poll`, on the polling thread. The work is done by the loop: here it is only noted, because
    /// the client library waits for `assign` and `unassign` as long as it takes.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let mut rebalanced = self
            .rebalanced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *rebalanced = Some(Instant::now());
        drop(rebalanced);
        let shared = self.shared.upgrade();
        if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            match shared.filter(|_| !self.is_halted()) {
                Some(shared) => {
                    tracing::debug!(group = %shared.group, count = partitions.count(), "assigned");
                    shared.todo().assigned.push(partitions.clone());
                }
                // Nobody will come back to it: closing waits for this call, and takes it back.
                None => assign_unread(consumer, partitions),
            }
            return;
        }
        let Some(shared) = shared else {
            return unassign(consumer, partitions);
        };
        let lost = consumer.assignment_lost();
        tracing::debug!(group = %shared.group, count = partitions.count(), lost, "revoked");
        if lost || self.is_halted() {
            let mut todo = shared.todo();
            todo.assigned.clear();
            todo.revoked.clear();
            todo.lost_at = lost.then(Instant::now);
            drop(todo);
            let mut inner = shared.lock();
            // What no handler has begun may be another member's before this one hears of it.
            let mut unsure = Vec::new();
            for element in sys::elements(partitions) {
                let (topic, partition) = (&*element.topic, element.partition);
                if lost && !self.is_halted() {
                    unsure.extend(inner.suspend(topic, partition));
                } else if inner
                    .part(topic, partition)
                    .is_some_and(|part| !part.suspended)
                {
                    inner.remove(topic, partition, true);
                }
            }
            inner.reclaim(unsure, Instant::now());
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
        inner.reclaim(receipts, by);
        drop(inner);
        shared.receiver.notify_one();
        shared.work.notify_all();
        shared.todo().revoked.push((partitions.clone(), by));
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
