//! Request and reply: a topic each way, read without a group.

use std::time::Duration;

use anyhow::{Result, ensure};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use rdkafka::producer::FutureRecord;
use rdkafka::{Offset, TopicPartitionList};

use super::{Kafka, client, names};
use crate::load::Load;
use crate::side::{Calls, Sample};

impl Kafka {
    fn tail(&self, topic: &str) -> Result<StreamConsumer> {
        let mut config = client(&self.servers);
        config.set("group.id", "raw-tail");
        let consumer: StreamConsumer = config.create()?;
        let mut partition = TopicPartitionList::new();
        partition.add_partition_offset(topic, 0, Offset::Beginning)?;
        consumer.assign(&partition)?;
        Ok(consumer)
    }

    pub(super) async fn ask(&self, load: &Load) -> Result<Sample> {
        self.make(load, 2).await?;
        let names = names(load, 2);
        let (asked, inbox) = (self.tail(&names[0])?, self.tail(&names[1])?);
        let (producer, to) = (self.one.clone(), names[1].clone());
        let responder = tokio::spawn(async move {
            loop {
                let question = asked.recv().await?;
                let reply: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&to)
                    .partition(0)
                    .payload(question.payload().unwrap_or_default());
                // Whoever asked sees whether it came.
                drop(producer.send_result(reply).map_err(|(error, _)| error)?);
            }
            #[expect(unreachable_code, reason = "says what the task returns")]
            anyhow::Ok(())
        });
        let mut calls = Calls::begin(load.messages);
        for number in 0..load.messages {
            let payload = load.payload(number);
            let question: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&names[0])
                .partition(0)
                .headers(self.headers.clone())
                .payload(&payload[..]);
            drop(self.one.send_result(question).map_err(|(error, _)| error)?);
            let answer = tokio::time::timeout(Duration::from_secs(30), inbox.recv()).await??;
            let right = answer.payload() == Some(&payload[..]);
            ensure!(right, "the wrong answer");
            calls.tick();
        }
        responder.abort();
        // What was aborted ends its consumer; waiting for that would hold the runtime up.
        let _ = responder.await;
        tokio::task::spawn_blocking(move || drop(inbox)).await?;
        Ok(calls.sample())
    }
}
