//! What every consumer does with its partitions, whichever protocol its group has.

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::TopicPartitionList;

fn is_cooperative<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> bool {
    matches!(
        consumer.rebalance_protocol(),
        RebalanceProtocol::Cooperative
    )
}

/// Takes partitions that the group has given.
pub(crate) fn assign<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    // The client library keeps a pause for ever, also of a partition that was paused when it went away: it
    // would never be fetched again. One that it does not know yet makes this fail, which is no matter.
    if let Err(native) = consumer.resume(partitions) {
        tracing::debug!(error = %native, "resuming before assigning");
    }
    if is_cooperative(consumer) {
        consumer.incremental_assign(partitions)
    } else {
        consumer.assign(partitions)
    }
}

/// Takes partitions that will not be read.
pub(crate) fn assign_unread<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
) {
    if let Err(native) = assign(consumer, partitions) {
        tracing::debug!(error = %native, "assigning before leaving");
    }
}

/// Gives partitions back.
pub(crate) fn unassign<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
) {
    let done = if is_cooperative(consumer) {
        consumer.incremental_unassign(partitions)
    } else {
        consumer.unassign()
    };
    if let Err(native) = done {
        tracing::debug!(error = %native, "unassigning");
    }
}

/// Whether fetching is paused.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    paused: bool,
}

impl Flow {
    /// Pauses when `full`, and goes on when `low`.
    pub(crate) fn control<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        full: bool,
        low: bool,
    ) {
        let wanted = if self.paused { !low } else { full };
        // While paused again and again: new partitions are not paused by themselves.
        if !wanted && !self.paused {
            return;
        }
        let Ok(assignment) = consumer.assignment() else {
            return;
        };
        let done = if wanted {
            consumer.pause(&assignment)
        } else {
            consumer.resume(&assignment)
        };
        if done.is_ok() {
            self.paused = wanted;
        }
    }
}
