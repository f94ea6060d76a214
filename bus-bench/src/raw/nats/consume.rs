//! Receiving and settling.

use std::time::Instant;

use anyhow::{Context, Result};
use async_nats::Client;
use async_nats::jetstream::consumer::{Consumer, pull};
use bytes::Bytes;
use futures_util::future::{try_join, try_join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryStreamExt};

use super::{Nats, Use, subjects};
use crate::load::Load;
use crate::side::Sample;
use crate::tally::Tally;

impl Nats {
    async fn join(&self, load: &Load, group: &str) -> Result<Consumer<pull::Config>> {
        let config = pull::Config {
            durable_name: Some(group.to_owned()),
            filter_subject: format!("raw.{}.*.done", load.root),
            max_ack_pending: 10_000,
            ..pull::Config::default()
        };
        Ok(self.stream(load).await?.create_consumer(config).await?)
    }

    pub(super) async fn backlog(&self, load: &Load, tuned: bool) -> Result<Sample> {
        self.stream(load).await?;
        self.fill(load, &subjects(load, 1)).await?;
        let consumer = self.join(load, "bench").await?;
        let tally = self.all(consumer, load, tuned).await?;
        Ok(Sample::received(tally.since_first(), [&tally]))
    }

    pub(super) async fn spread(&self, load: &Load, topics: usize, groups: usize) -> Result<Sample> {
        let subjects = subjects(load, topics);
        let mut consumers = Vec::new();
        for group in 0..groups {
            consumers.push(self.join(load, &format!("bench{group}")).await?);
        }
        let begun = Instant::now();
        let reading = consumers
            .into_iter()
            .map(|consumer| self.all(consumer, load, false));
        let (tallies, ()) = try_join(try_join_all(reading), self.fill(load, &subjects)).await?;
        Ok(Sample::received(begun.elapsed(), &tallies))
    }

    async fn all(
        &self,
        consumer: Consumer<pull::Config>,
        load: &Load,
        tuned: bool,
    ) -> Result<Tally> {
        match (self.usage, tuned) {
            (Use::Best, false) => confirmed(&self.client, consumer, load, 256).await,
            (Use::Best, true) => confirmed(&self.client, consumer, load, 1_024).await,
            (Use::Plain, _) => self.unconfirmed(consumer, load).await,
        }
    }

    async fn unconfirmed(&self, consumer: Consumer<pull::Config>, load: &Load) -> Result<Tally> {
        let mut tally = Tally::new(load.messages);
        let mut messages = consumer.messages().await?;
        while !tally.is_complete() {
            let message = messages.next().await.context("it ended")??;
            tally.take(&message.payload);
            message.ack().await.map_err(anyhow::Error::from_boxed)?;
        }
        self.client.flush().await?;
        Ok(tally)
    }
}

/// Every ack is a request, which the server answers; `window` of them on their way.
async fn confirmed(
    client: &Client,
    consumer: Consumer<pull::Config>,
    load: &Load,
    window: usize,
) -> Result<Tally> {
    let mut tally = Tally::new(load.messages);
    let stream = consumer.stream().max_messages_per_batch(window);
    let mut messages = stream.messages().await?;
    let mut acks = FuturesUnordered::new();
    while !tally.is_complete() {
        tokio::select! {
            message = messages.next(), if acks.len() < window => {
                let message = message.context("it ended")??;
                tally.take(&message.payload);
                let to = message.reply.clone().context("no address for the ack")?;
                acks.push(client.request(to, Bytes::from_static(b"+ACK")));
            }
            Some(acked) = acks.next(), if !acks.is_empty() => {
                acked?;
            }
        }
    }
    while acks.try_next().await?.is_some() {}
    Ok(tally)
}
