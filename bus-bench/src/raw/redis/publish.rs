//! Publishing.

use std::time::Instant;

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use redis::{Pipeline, Value};

use super::{Redis, Use, streams};
use crate::load::Load;
use crate::side::{Calls, Sample};
use crate::work::BATCH;

/// Pipelines on their way at the same time.
const PIPELINES: usize = 4;
/// Commands on their way at the same time, where each is one of its own.
const COMMANDS: usize = 64;

impl Redis {
    pub(super) async fn publish_awaited(&self, load: &Load) -> Result<Sample> {
        let mut connection = self.connection.clone();
        let streams = streams(load, 1);
        let mut calls = Calls::begin(load.messages);
        for number in 0..load.messages {
            let add = self.add(&streams[0], load, number);
            let _: Value = add.query_async(&mut connection).await?;
            calls.tick();
        }
        Ok(calls.sample())
    }

    pub(super) async fn publish_many(&self, load: &Load) -> Result<Sample> {
        let begun = Instant::now();
        match self.usage {
            Use::Best => self.fill(load, &streams(load, 1)).await?,
            Use::Plain => self.fill_singly(load, &streams(load, 1)).await?,
        }
        Ok(Sample::sent(begun.elapsed()))
    }

    pub(super) async fn publish_batches(&self, load: &Load) -> Result<Sample> {
        let mut connection = self.connection.clone();
        let streams = streams(load, 1);
        let begun = Instant::now();
        for batch in load.batches(BATCH) {
            let pipeline = self.pipeline(load, &streams, batch);
            let _: Vec<Value> = pipeline.query_async(&mut connection).await?;
        }
        Ok(Sample::sent(begun.elapsed()))
    }

    /// The commands that store messages, each in its stream of `streams`.
    fn pipeline(&self, load: &Load, streams: &[String], batch: std::ops::Range<usize>) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(batch.len());
        for number in batch {
            pipeline.add_command(self.add(&streams[number % streams.len()], load, number));
        }
        pipeline
    }

    /// Stores everything in `streams` in turn.
    pub(super) async fn fill(&self, load: &Load, streams: &[String]) -> Result<()> {
        let pipelines = load.batches(BATCH).map(|batch| {
            let mut connection = self.connection.clone();
            async move {
                let pipeline = self.pipeline(load, streams, batch);
                pipeline.query_async::<Vec<Value>>(&mut connection).await
            }
        });
        let done = stream::iter(pipelines).buffered(PIPELINES);
        done.try_for_each(|_| std::future::ready(Ok(()))).await?;
        Ok(())
    }

    async fn fill_singly(&self, load: &Load, streams: &[String]) -> Result<()> {
        let commands = (0..load.messages).map(|number| {
            let mut connection = self.connection.clone();
            async move {
                let add = self.add(&streams[number % streams.len()], load, number);
                add.query_async::<Value>(&mut connection).await
            }
        });
        let done = stream::iter(commands).buffered(COMMANDS);
        done.try_for_each(|_| std::future::ready(Ok(()))).await?;
        Ok(())
    }
}
