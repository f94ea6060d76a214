//! The bus, through its public API, with default settings.

mod consume;
mod dead;
mod many;
mod publish;
mod question;
mod spread;

use anyhow::Result;
use async_trait::async_trait;
use bus::{BusClient, BusUrl, Connector, Raw, Topic};

use crate::flat::Shape;
use crate::load::Load;
use crate::side::{Sample, Side};
use crate::work::{BATCH, GROUPS, TOPICS, Work};

/// The bus over one transport.
pub(crate) struct Ours {
    bus: BusClient,
    name: String,
}

impl Ours {
    /// The bus at `url`, in a namespace of its own.
    pub(crate) async fn connect(url: &BusUrl, namespace: &str) -> Result<Self> {
        let mut url = url.clone();
        url.options_mut().set("namespace", namespace);
        let bus = Connector::new().connect(url).await?;
        Ok(Self {
            name: format!("bus over {}", bus.adapter().name()),
            bus,
        })
    }

    pub(crate) fn bus(&self) -> &BusClient {
        &self.bus
    }

    /// Publishes `load`, and waits until it is confirmed.
    pub(crate) async fn fill(&self, load: &Load) -> Result<()> {
        publish::fill(&self.bus, load, 1).await
    }

    /// Does the work of a shape once; what it did before the clock ran is part of `load`.
    pub(crate) async fn run_shape(&self, shape: Shape, load: &Load) -> Result<Sample> {
        match shape {
            Shape::Through {
                topics,
                subscriptions,
                ..
            } => many::through(&self.bus, load, topics, subscriptions).await,
            Shape::Backlog { .. } => consume::backlog(&self.bus, load, false).await,
        }
    }
}

/// Message `number` of `load`, to `topic`.
fn message(topic: &Topic, load: &Load, number: usize) -> Raw {
    let payload = load.payload(number);
    Raw::new(
        topic.clone(),
        crate::raw::EVENT_TYPE,
        crate::raw::CONTENT_TYPE,
        payload,
    )
}

#[async_trait]
impl Side for Ours {
    fn name(&self) -> &str {
        &self.name
    }

    fn guarantees(&self) -> &str {
        "publishes and acks confirmed; lease, attempts, dead letters, metadata as CloudEvents attributes; default settings"
    }

    async fn run(&self, work: Work, load: &Load) -> Result<Option<Sample>> {
        let bus = &self.bus;
        let sample = match work {
            Work::PublishAwaited => publish::awaited(bus, load).await?,
            Work::PublishManyInFlight => publish::many_in_flight(bus, load).await?,
            Work::PublishBatch => publish::batches(bus, load).await?,
            Work::ConsumeAck => consume::backlog(bus, load, false).await?,
            Work::ConsumeAckTuned => consume::backlog(bus, load, true).await?,
            Work::OneByOne => consume::rounds(bus, load, 1).await?,
            Work::Batches => consume::rounds(bus, load, BATCH).await?,
            Work::BatchesOfJson => consume::typed(bus, load, BATCH).await?,
            Work::FanOut => spread::spread(bus, load, 1, GROUPS).await?,
            Work::Wildcard => spread::spread(bus, load, TOPICS, 1).await?,
            Work::RequestReply => question::ask(bus, load).await?,
            Work::DeadLetterPages => dead::pages(bus, load).await?,
            Work::Redrive => dead::redrive(bus, load).await?,
        };
        Ok(Some(sample))
    }

    async fn clean(&self, _namespace: &str, root: &str) -> Result<()> {
        let subscriptions = self.bus.subscriptions();
        for info in subscriptions.list().await? {
            if info.id.pattern.as_str().starts_with(root) {
                subscriptions.delete(&info.id).await?;
            }
        }
        Ok(())
    }
}
