//! Publishing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use futures_util::{StreamExt, TryStreamExt, stream};
use rdkafka::producer::future_producer::{DeliveryFuture, OwnedDeliveryResult};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::{Kafka, Use};
use crate::load::Load;
use crate::side::{Calls, Sample};
use crate::work::BATCH;

/// Records on their way at the same time.
const WINDOW: usize = 10_000;
/// The same, in plain use.
const FEW: usize = 1_000;

fn stored(result: OwnedDeliveryResult) -> Result<()> {
    result.map(drop).map_err(|(error, _)| error.into())
}

impl Kafka {
    /// Sends without waiting for room: the window is smaller than the producer's own.
    fn send(
        &self,
        producer: &FutureProducer,
        topic: &str,
        load: &Load,
        number: usize,
    ) -> Result<DeliveryFuture> {
        let payload = load.payload(number);
        let record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic)
            .payload(&payload[..])
            .headers(self.headers.clone());
        producer
            .send_result(record)
            .map_err(|(error, _)| anyhow!(error))
    }

    async fn send_and_wait(
        &self,
        producer: &FutureProducer,
        topic: &str,
        load: &Load,
        number: usize,
    ) -> Result<()> {
        let payload = load.payload(number);
        let record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic)
            .payload(&payload[..])
            .headers(self.headers.clone());
        stored(producer.send(record, Duration::from_secs(30)).await)
    }

    pub(super) async fn publish_awaited(&self, load: &Load) -> Result<Sample> {
        let topics = self.make(load, 1).await?;
        let mut calls = Calls::begin(load.messages);
        for number in 0..load.messages {
            self.send_and_wait(&self.one, &topics[0], load, number)
                .await?;
            calls.tick();
        }
        Ok(calls.sample())
    }

    pub(super) async fn publish_many(&self, load: &Load) -> Result<Sample> {
        let topics = self.make(load, 1).await?;
        let begun = Instant::now();
        match self.usage {
            Use::Best => self.fill(load, &topics).await?,
            Use::Plain => {
                let sends = (0..load.messages)
                    .map(|number| self.send_and_wait(&self.many, &topics[0], load, number));
                let done = stream::iter(sends).buffered(FEW);
                done.try_collect::<()>().await?;
            }
        }
        Ok(Sample::sent(begun.elapsed()))
    }

    pub(super) async fn publish_batches(&self, load: &Load) -> Result<Sample> {
        let topics = self.make(load, 1).await?;
        let begun = Instant::now();
        for batch in load.batches(BATCH) {
            let mut reports = Vec::with_capacity(BATCH);
            for number in batch {
                reports.push(self.send(&self.one, &topics[0], load, number)?);
            }
            for report in reports {
                stored(report.await?)?;
            }
        }
        Ok(Sample::sent(begun.elapsed()))
    }

    /// Stores everything in `topics` in turn.
    pub(super) async fn fill(&self, load: &Load, topics: &[String]) -> Result<()> {
        let mut reports = VecDeque::with_capacity(WINDOW);
        for (number, topic) in (0..load.messages).zip(topics.iter().cycle()) {
            if reports.len() == WINDOW
                && let Some(oldest) = reports.pop_front()
            {
                let oldest: DeliveryFuture = oldest;
                stored(oldest.await?)?;
            }
            reports.push_back(self.send(&self.many, topic, load, number)?);
        }
        for report in reports {
            stored(report.await?)?;
        }
        Ok(())
    }
}
