//! Publishing.

use std::future::IntoFuture;
use std::time::Instant;

use anyhow::Result;
use async_nats::jetstream::context::PublishAckFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Nats, Use, subjects};
use crate::load::Load;
use crate::side::{Calls, Sample};
use crate::work::BATCH;

/// Publishes on their way at the same time.
const WINDOW: usize = 1_000;
/// The same, in plain use.
const FEW: usize = 64;

impl Nats {
    async fn send(&self, subject: &str, load: &Load, number: usize) -> Result<PublishAckFuture> {
        let sending = self.jetstream.publish_with_headers(
            subject.to_owned(),
            self.headers.clone(),
            load.payload(number),
        );
        Ok(sending.await?)
    }

    pub(super) async fn publish_awaited(&self, load: &Load) -> Result<Sample> {
        self.stream(load).await?;
        let subjects = subjects(load, 1);
        let mut calls = Calls::begin(load.messages);
        for number in 0..load.messages {
            self.send(&subjects[0], load, number).await?.await?;
            calls.tick();
        }
        Ok(calls.sample())
    }

    pub(super) async fn publish_many(&self, load: &Load) -> Result<Sample> {
        self.stream(load).await?;
        let subjects = subjects(load, 1);
        let begun = Instant::now();
        match self.usage {
            Use::Best => self.fill(load, &subjects).await?,
            Use::Plain => {
                let sends =
                    (0..load.messages).map(|number| self.send_and_wait(&subjects[0], load, number));
                let done = stream::iter(sends).buffered(FEW);
                done.try_collect::<()>().await?;
            }
        }
        Ok(Sample::sent(begun.elapsed()))
    }

    pub(super) async fn publish_batches(&self, load: &Load) -> Result<Sample> {
        self.stream(load).await?;
        let subjects = subjects(load, 1);
        let begun = Instant::now();
        for batch in load.batches(BATCH) {
            let mut acks = Vec::with_capacity(BATCH);
            for number in batch {
                acks.push(self.send(&subjects[0], load, number).await?);
            }
            for ack in acks {
                ack.await?;
            }
        }
        Ok(Sample::sent(begun.elapsed()))
    }

    /// Stores everything under `subjects` in turn.
    pub(super) async fn fill(&self, load: &Load, subjects: &[String]) -> Result<()> {
        let mut acks = FuturesUnordered::new();
        for (number, subject) in (0..load.messages).zip(subjects.iter().cycle()) {
            let ack = self.send(subject, load, number).await?;
            acks.push(ack.into_future());
            if acks.len() >= WINDOW {
                acks.try_next().await?;
            }
        }
        while acks.try_next().await?.is_some() {}
        Ok(())
    }

    async fn send_and_wait(&self, subject: &str, load: &Load, number: usize) -> Result<()> {
        self.send(subject, load, number).await?.await?;
        Ok(())
    }
}
