//! Channels of tokio: the next best thing in one process.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::load::{Load, Text};
use crate::side::{Calls, Sample, Side};
use crate::tally::Tally;
use crate::work::{BATCH, GROUPS, Work};

/// `tokio::sync::broadcast`: no group, no ack, no lease, no metadata.
pub(crate) struct Broadcast;

/// `tokio::sync::mpsc`: the same, and one receiver only.
pub(crate) struct Mpsc;

/// How a message is written and read.
struct Form {
    write: fn(&Load, usize) -> Result<Bytes>,
    read: fn(&[u8], &mut Tally) -> Result<()>,
}

const BYTES: Form = Form {
    write: |load, number| Ok(load.payload(number)),
    read: |payload, tally| {
        tally.take(payload);
        Ok(())
    },
};

const JSON: Form = Form {
    write: |load, number| Ok(serde_json::to_vec(&load.text(number))?.into()),
    read: |payload, tally| {
        let text: Text = serde_json::from_slice(payload)?;
        tally.note(Some(text.number));
        Ok(())
    },
};

#[async_trait]
impl Side for Broadcast {
    fn name(&self) -> &str {
        "tokio broadcast"
    }

    fn guarantees(&self) -> &str {
        "none: no acks, no redelivery, no metadata; a slow receiver loses"
    }

    async fn run(&self, work: Work, load: &Load) -> Result<Option<Sample>> {
        Ok(match work {
            Work::PublishAwaited => Some(self.send_each(load)?),
            Work::PublishManyInFlight | Work::PublishBatch => Some(self.send(load)?),
            Work::ConsumeAck | Work::ConsumeAckTuned => Some(self.backlog(load).await?),
            Work::OneByOne => Some(self.rounds(load, 1, 1, &BYTES).await?),
            Work::Batches | Work::Wildcard => Some(self.rounds(load, BATCH, 1, &BYTES).await?),
            Work::BatchesOfJson => Some(self.rounds(load, BATCH, 1, &JSON).await?),
            Work::FanOut => Some(self.rounds(load, BATCH, GROUPS, &BYTES).await?),
            Work::RequestReply | Work::DeadLetterPages | Work::Redrive => None,
        })
    }
}

impl Broadcast {
    fn send_each(&self, load: &Load) -> Result<Sample> {
        let (sender, _receiver) = broadcast::channel(load.messages);
        let mut calls = Calls::begin(load.messages);
        for number in 0..load.messages {
            sender.send(load.payload(number))?;
            calls.tick();
        }
        Ok(calls.sample())
    }

    fn send(&self, load: &Load) -> Result<Sample> {
        let (sender, _receiver) = broadcast::channel(load.messages);
        let begun = Instant::now();
        for number in 0..load.messages {
            sender.send(load.payload(number))?;
        }
        Ok(Sample::sent(begun.elapsed()))
    }

    async fn backlog(&self, load: &Load) -> Result<Sample> {
        let (sender, mut receiver) = broadcast::channel(load.messages);
        for number in 0..load.messages {
            sender.send(load.payload(number))?;
        }
        let mut tally = Tally::new(load.messages);
        while !tally.is_complete() {
            tally.take(&receiver.recv().await?);
        }
        Ok(Sample::received(tally.since_first(), [&tally]))
    }

    /// Sends `batch` messages and receives them by each of `receivers`, again and again.
    async fn rounds(
        &self,
        load: &Load,
        batch: usize,
        receivers: usize,
        form: &Form,
    ) -> Result<Sample> {
        let (sender, first) = broadcast::channel(batch.next_power_of_two());
        let mut all = vec![(first, Tally::new(load.messages))];
        all.resize_with(receivers, || {
            (sender.subscribe(), Tally::new(load.messages))
        });
        let begun = Instant::now();
        for numbers in load.batches(batch) {
            let count = numbers.len();
            for number in numbers {
                sender.send((form.write)(load, number)?)?;
            }
            for (receiver, tally) in &mut all {
                for _ in 0..count {
                    (form.read)(&receiver.recv().await?, tally)?;
                }
            }
        }
        let took = begun.elapsed();
        Ok(Sample::received(took, all.iter().map(|(_, tally)| tally)))
    }
}

#[async_trait]
impl Side for Mpsc {
    fn name(&self) -> &str {
        "tokio mpsc"
    }

    fn guarantees(&self) -> &str {
        "none: no acks, no redelivery, no metadata; one receiver"
    }

    async fn run(&self, work: Work, load: &Load) -> Result<Option<Sample>> {
        Ok(match work {
            Work::PublishAwaited => Some(self.send_each(load).await?),
            Work::PublishManyInFlight | Work::PublishBatch => Some(self.send(load).await?),
            Work::ConsumeAck | Work::ConsumeAckTuned => Some(self.backlog(load).await?),
            Work::OneByOne => Some(self.rounds(load, 1, &BYTES).await?),
            Work::Batches | Work::Wildcard => Some(self.rounds(load, BATCH, &BYTES).await?),
            Work::BatchesOfJson => Some(self.rounds(load, BATCH, &JSON).await?),
            Work::RequestReply => Some(self.ask(load).await?),
            Work::FanOut | Work::DeadLetterPages | Work::Redrive => None,
        })
    }
}

impl Mpsc {
    async fn send_each(&self, load: &Load) -> Result<Sample> {
        let (sender, _receiver) = mpsc::channel(load.messages);
        let mut calls = Calls::begin(load.messages);
        for number in 0..load.messages {
            sender.send(load.payload(number)).await?;
            calls.tick();
        }
        Ok(calls.sample())
    }

    async fn send(&self, load: &Load) -> Result<Sample> {
        let (sender, _receiver) = mpsc::channel(load.messages);
        let begun = Instant::now();
        for number in 0..load.messages {
            sender.send(load.payload(number)).await?;
        }
        Ok(Sample::sent(begun.elapsed()))
    }

    async fn backlog(&self, load: &Load) -> Result<Sample> {
        let (sender, mut receiver) = mpsc::channel(load.messages);
        for number in 0..load.messages {
            sender.send(load.payload(number)).await?;
        }
        let mut tally = Tally::new(load.messages);
        while !tally.is_complete() {
            tally.take(&receiver.recv().await.context("it ended")?);
        }
        Ok(Sample::received(tally.since_first(), [&tally]))
    }

    async fn rounds(&self, load: &Load, batch: usize, form: &Form) -> Result<Sample> {
        let (sender, mut receiver) = mpsc::channel(batch);
        let mut tally = Tally::new(load.messages);
        let begun = Instant::now();
        for numbers in load.batches(batch) {
            let count = numbers.len();
            for number in numbers {
                sender.send((form.write)(load, number)?).await?;
            }
            for _ in 0..count {
                (form.read)(&receiver.recv().await.context("it ended")?, &mut tally)?;
            }
        }
        Ok(Sample::received(begun.elapsed(), [&tally]))
    }

    async fn ask(&self, load: &Load) -> Result<Sample> {
        let (sender, mut receiver) = mpsc::channel::<(Bytes, oneshot::Sender<Bytes>)>(16);
        let responder = tokio::spawn(async move {
            while let Some((question, reply)) = receiver.recv().await {
                // Whoever asked waits.
                let _ = reply.send(question);
            }
        });
        let mut calls = Calls::begin(load.messages);
        for number in 0..load.messages {
            let (reply, answer) = oneshot::channel();
            let asked = sender.send((load.payload(number), reply)).await;
            ensure!(asked.is_ok(), "the responder is gone");
            answer.await?;
            calls.tick();
        }
        drop(sender);
        responder.await?;
        Ok(calls.sample())
    }
}
