//! Receiving and committing.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::{try_join, try_join_all};
use rdkafka::Message as _;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};

use super::{Kafka, Use, client};
use crate::load::Load;
use crate::side::Sample;
use crate::tally::Tally;

impl Kafka {
    fn consumer(&self, group: &str, tuned: bool) -> Result<StreamConsumer> {
        let mut config = client(&self.servers);
        config
            .set("group.id", group)
            .set("auto.offset.reset", "earliest");
        if self.usage == Use::Best {
            config
                .set("enable.auto.commit", "true")
                .set("auto.commit.interval.ms", "5000")
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("fetch.queue.backoff.ms", "10");
        }
        if tuned {
            config
                .set("fetch.min.bytes", "65536")
                .set("fetch.message.max.bytes", "4194304");
        }
        Ok(config.create()?)
    }

    pub(super) async fn backlog(&self, load: &Load, tuned: bool) -> Result<Sample> {
        let topics = self.make(load, 1).await?;
        self.fill(load, &topics).await?;
        let consumer = self.consumer(&format!("raw-{}", load.root), tuned)?;
        consumer.subscribe(&[&topics[0]])?;
        let tally = self.all(&consumer, load).await?;
        let sample = Sample::received(tally.since_first(), [&tally]);
        close(consumer).await?;
        Ok(sample)
    }

    pub(super) async fn spread(&self, load: &Load, topics: usize, groups: usize) -> Result<Sample> {
        let names = self.make(load, topics).await?;
        let mut consumers = Vec::new();
        for group in 0..groups {
            let consumer = self.consumer(&format!("raw-{}-{group}", load.root), false)?;
            consumer.subscribe(&[&format!("^raw-{}-", load.root)])?;
            joined(&consumer).await?;
            consumers.push(consumer);
        }
        let begun = Instant::now();
        let reading = consumers.iter().map(|consumer| self.all(consumer, load));
        let (tallies, ()) = try_join(try_join_all(reading), self.fill(load, &names)).await?;
        let sample = Sample::received(begun.elapsed(), &tallies);
        for consumer in consumers {
            close(consumer).await?;
        }
        Ok(sample)
    }

    async fn all(&self, consumer: &StreamConsumer, load: &Load) -> Result<Tally> {
        let mut tally = Tally::new(load.messages);
        while !tally.is_complete() {
            let message = consumer.recv().await?;
            tally.take(message.payload().unwrap_or_default());
        }
        if self.usage == Use::Best {
            consumer.commit_consumer_state(CommitMode::Sync)?;
        }
        Ok(tally)
    }
}

/// Waits until the consumer has its partitions.
async fn joined(consumer: &StreamConsumer) -> Result<()> {
    while consumer.assignment()?.count() == 0 {
        // Nothing was published yet; receiving is what takes part in the group.
        let _ = tokio::time::timeout(Duration::from_millis(10), consumer.recv()).await;
    }
    Ok(())
}

/// Ends a consumer where waiting for it holds nothing up.
async fn close(consumer: StreamConsumer) -> Result<()> {
    consumer.unsubscribe();
    Ok(tokio::task::spawn_blocking(move || drop(consumer)).await?)
}
