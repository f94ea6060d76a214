//! Dead letters: a stream, as applications keep one.

use std::time::Instant;

use anyhow::Result;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, pull};
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;

use super::{Nats, Use, subjects};
use crate::load::Load;
use crate::side::Sample;
use crate::tally::Tally;
use crate::work::BATCH;

impl Nats {
    async fn reader(&self, load: &Load) -> Result<Consumer<pull::Config>> {
        let config = pull::Config {
            ack_policy: AckPolicy::None,
            filter_subject: subjects(load, 1).remove(0),
            ..pull::Config::default()
        };
        Ok(self.stream(load).await?.create_consumer(config).await?)
    }

    pub(super) async fn dead_letter_pages(&self, load: &Load) -> Result<Sample> {
        self.stream(load).await?;
        self.fill(load, &subjects(load, 1)).await?;
        let mut tally = Tally::new(load.messages);
        let begun = Instant::now();
        let reader = self.reader(load).await?;
        while !tally.is_complete() {
            for message in page(&reader).await? {
                tally.take(&message.payload);
            }
        }
        Ok(Sample::received(begun.elapsed(), [&tally]))
    }

    pub(super) async fn redrive(&self, load: &Load) -> Result<Sample> {
        let stream = self.stream(load).await?;
        let subjects = subjects(load, 2);
        self.fill(load, &subjects[..1]).await?;
        let mut done = 0;
        let begun = Instant::now();
        let reader = self.reader(load).await?;
        while done < load.messages as u64 {
            let page = page(&reader).await?;
            let mut acks = Vec::with_capacity(page.len());
            let mut copied = Vec::with_capacity(page.len());
            for message in page {
                copied.push(
                    message
                        .info()
                        .map_err(anyhow::Error::from_boxed)?
                        .stream_sequence,
                );
                let ack = self.jetstream.publish_with_headers(
                    subjects[1].clone(),
                    message.headers.clone().unwrap_or_default(),
                    message.payload.clone(),
                );
                acks.push(ack.await?);
            }
            for ack in acks {
                ack.await?;
            }
            match self.usage {
                Use::Best => {
                    let removals = copied.iter().map(|number| stream.delete_message(*number));
                    try_join_all(removals).await?;
                }
                Use::Plain => {
                    for number in &copied {
                        stream.delete_message(*number).await?;
                    }
                }
            }
            done += copied.len() as u64;
        }
        Ok(Sample::done(begun.elapsed(), done, load.messages as u64))
    }
}

async fn page(reader: &Consumer<pull::Config>) -> Result<Vec<Message>> {
    let fetching = reader.fetch().max_messages(BATCH).messages().await?;
    fetching
        .try_collect()
        .await
        .map_err(anyhow::Error::from_boxed)
}
