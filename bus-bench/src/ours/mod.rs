//! The bus, through its public API, with default settings.

mod consume;
mod publish;
mod question;

use anyhow::Result;
use async_trait::async_trait;
use bus::{BusClient, Raw, Topic};

use crate::side::{Load, Sample, Side};
use crate::work::Work;

/// The bus over one transport.
pub(crate) struct Ours {
    bus: BusClient,
    name: String,
    /// Sets topics and groups of one round apart from those of another.
    round: std::sync::atomic::AtomicU64,
}

impl Ours {
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let bus = bus::connect(url).await?;
        Ok(Self {
            name: format!("bus over {}", bus.adapter().name()),
            bus,
            round: std::sync::atomic::AtomicU64::new(0),
        })
    }

    /// A root token that no other round has.
    fn fresh(&self) -> String {
        let round = self
            .round
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        format!("bench{round}")
    }
}

/// `load` as one message of `topic`.
fn message(topic: &str, load: &Load) -> Result<Raw> {
    let topic = Topic::new(topic)?;
    Ok(Raw::new(
        topic,
        "bench.message",
        "application/octet-stream",
        load.payload.clone(),
    ))
}

#[async_trait]
impl Side for Ours {
    fn name(&self) -> &str {
        &self.name
    }

    fn guarantees(&self) -> &str {
        "publishes and acks confirmed; lease, attempts, metadata, CloudEvents attributes"
    }

    async fn run(&self, work: Work, load: &Load) -> Result<Option<Sample>> {
        let root = self.fresh();
        let sample = match work {
            Work::PublishAwaited => publish::awaited(&self.bus, &root, load).await?,
            Work::PublishManyInFlight => publish::many_in_flight(&self.bus, &root, load).await?,
            Work::PublishBatch => publish::batches(&self.bus, &root, load).await?,
            Work::ConsumeAck => consume::backlog(&self.bus, &root, load).await?,
            Work::OneByOne => consume::one_by_one(&self.bus, &root, load).await?,
            Work::Batches => consume::batches(&self.bus, &root, load).await?,
            Work::FanOut => consume::fan_out(&self.bus, &root, load).await?,
            Work::Wildcard => consume::wildcard(&self.bus, &root, load).await?,
            Work::RequestReply => question::ask(&self.bus, load).await?,
        };
        Ok(Some(sample))
    }
}
