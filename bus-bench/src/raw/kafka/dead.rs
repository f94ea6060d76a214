//! Dead letters: a topic, as applications keep one.

use std::time::Instant;

use anyhow::{Context, Result};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::producer::FutureRecord;
use rdkafka::{Offset, TopicPartitionList};

use super::{Kafka, PARTITIONS, client};
use crate::load::Load;
use crate::side::Sample;
use crate::tally::Tally;

impl Kafka {
    /// Reads a topic from its beginning, in a thread of its own, and calls `take` with each record.
    async fn read<T: Send + 'static>(
        &self,
        topic: &str,
        mut state: T,
        mut take: impl FnMut(&mut T, &BorrowedMessage<'_>) -> bool + Send + 'static,
    ) -> Result<T> {
        let mut config = client(&self.servers);
        config.set("group.id", "raw-reader");
        let consumer: BaseConsumer = config.create()?;
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&all)?;
        let reading = tokio::task::spawn_blocking(move || {
            loop {
                let record = consumer.poll(std::time::Duration::from_secs(10));
                let record = record.context("nothing came within 10 s")??;
                if take(&mut state, &record) {
                    return Ok(state);
                }
            }
        });
        reading.await?
    }

    pub(super) async fn dead_letter_pages(&self, load: &Load) -> Result<Sample> {
        let topics = self.make(load, 1).await?;
        self.fill(load, &topics).await?;
        let begun = Instant::now();
        let tally = Tally::new(load.messages);
        let tally = self
            .read(&topics[0], tally, |tally, record| {
                tally.take(record.payload().unwrap_or_default());
                tally.is_complete()
            })
            .await?;
        Ok(Sample::received(begun.elapsed(), [&tally]))
    }

    pub(super) async fn redrive(&self, load: &Load) -> Result<Sample> {
        let topics = self.make(load, 2).await?;
        self.fill(load, &topics[..1]).await?;
        let begun = Instant::now();
        let wanted = load.messages;
        let read: Vec<_> = self
            .read(&topics[0], Vec::new(), move |read, record| {
                read.push(record.detach());
                read.len() == wanted
            })
            .await?;
        let mut reports = Vec::with_capacity(read.len());
        for record in &read {
            let copy: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&topics[1])
                .payload(record.payload().unwrap_or_default())
                .headers(record.headers().cloned().unwrap_or_default());
            reports.push(self.many.send_result(copy).map_err(|(error, _)| error)?);
        }
        for report in reports.drain(..) {
            report.await?.map_err(|(error, _)| error)?;
        }
        // Only when every copy is there.
        for record in &read {
            let key = record.offset().to_string();
            let removal: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&topics[0])
                .key(key.as_bytes())
                .partition(record.partition());
            reports.push(self.many.send_result(removal).map_err(|(error, _)| error)?);
        }
        for report in reports {
            report.await?.map_err(|(error, _)| error)?;
        }
        let done = read.len() as u64;
        Ok(Sample::done(begun.elapsed(), done, load.messages as u64))
    }
}
