//! `tokio::sync::broadcast`: no group, no ack, no lease, no metadata; the next best thing in one process.

use std::time::Instant;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{broadcast, oneshot};

use crate::side::{Load, Sample, Side};
use crate::work::{BATCH, GROUPS, Work};

/// A bare channel of tokio.
pub(crate) struct Broadcast;

#[async_trait]
impl Side for Broadcast {
    fn name(&self) -> &str {
        "tokio::sync::broadcast"
    }

    fn guarantees(&self) -> &str {
        "none: no acks, no redelivery, no metadata"
    }

    async fn run(&self, work: Work, load: &Load) -> Result<Option<Sample>> {
        Ok(match work {
            Work::PublishAwaited | Work::PublishManyInFlight | Work::PublishBatch => {
                Some(send(load)?)
            }
            Work::ConsumeAck => Some(backlog(load).await?),
            Work::OneByOne => Some(rounds(load, 1, 1).await?),
            Work::Batches | Work::Wildcard => Some(rounds(load, BATCH, 1).await?),
            Work::FanOut => Some(rounds(load, BATCH, GROUPS).await?),
            Work::RequestReply => Some(ask(load).await?),
        })
    }
}

fn send(load: &Load) -> Result<Sample> {
    let (sender, _receiver) = broadcast::channel(load.messages);
    let begun = Instant::now();
    for _ in 0..load.messages {
        sender.send(load.payload.clone())?;
    }
    Ok(Sample::sent(begun.elapsed()))
}

async fn backlog(load: &Load) -> Result<Sample> {
    let (sender, mut receiver) = broadcast::channel(load.messages);
    for _ in 0..load.messages {
        sender.send(load.payload.clone())?;
    }
    let begun = Instant::now();
    let mut received = 0;
    while received < load.messages as u64 {
        receiver.recv().await?;
        received += 1;
    }
    Ok(Sample {
        took: begun.elapsed(),
        received,
        expected: load.messages as u64,
    })
}

/// Sends `batch` messages and receives them by each of `receivers`, again and again.
async fn rounds(load: &Load, batch: usize, receivers: usize) -> Result<Sample> {
    let (sender, first) = broadcast::channel(batch.next_power_of_two());
    let mut all = vec![first];
    all.resize_with(receivers, || sender.subscribe());
    let mut received = 0;
    let begun = Instant::now();
    for _ in 0..load.messages / batch {
        for _ in 0..batch {
            sender.send(load.payload.clone())?;
        }
        for receiver in &mut all {
            for _ in 0..batch {
                receiver.recv().await?;
                received += 1;
            }
        }
    }
    Ok(Sample {
        took: begun.elapsed(),
        received,
        expected: (load.messages / batch * batch * receivers) as u64,
    })
}

async fn ask(load: &Load) -> Result<Sample> {
    let (sender, mut receiver) = broadcast::channel::<(
        Bytes,
        std::sync::Arc<std::sync::Mutex<Option<oneshot::Sender<u64>>>>,
    )>(16);
    let responder = tokio::spawn(async move {
        while let Ok((_, reply)) = receiver.recv().await {
            let reply = reply.lock().ok().and_then(|mut reply| reply.take());
            if let Some(reply) = reply {
                let _ = reply.send(1);
            }
        }
    });
    let mut received = 0;
    let begun = Instant::now();
    for _ in 0..load.messages {
        let (reply, answer) = oneshot::channel();
        let reply = std::sync::Arc::new(std::sync::Mutex::new(Some(reply)));
        if sender.send((load.payload.clone(), reply)).is_err() {
            anyhow::bail!("the responder is gone");
        }
        received += answer.await?;
    }
    let took = begun.elapsed();
    drop(sender);
    responder.await?;
    Ok(Sample {
        took,
        received,
        expected: load.messages as u64,
    })
}
