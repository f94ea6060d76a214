//! Kafka with the crate `rdkafka`.

mod consume;
mod dead;
mod publish;
mod question;

use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bus::cloudevents::Style;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, Producer as _};

use super::{Use, template};
use crate::load::Load;
use crate::side::{Sample, Side};
use crate::work::{GROUPS, TOPICS, Work};

/// Partitions of a topic, as the bus makes them.
const PARTITIONS: i32 = 3;

/// Kafka, used without the bus.
pub(super) struct Kafka {
    servers: String,
    admin: AdminClient<DefaultClientContext>,
    /// For many records in flight.
    many: FutureProducer,
    /// For records that are awaited.
    one: FutureProducer,
    headers: OwnedHeaders,
    usage: Use,
}

impl Kafka {
    pub(super) async fn connect(url: &str, usage: Use) -> Result<Self> {
        let (_, servers) = url.split_once("://").context("the URL has no host")?;
        let servers = servers.trim_end_matches('/').to_owned();
        let mut many = client(&servers);
        let mut one = client(&servers);
        if usage == Use::Best {
            for producer in [&mut many, &mut one] {
                producer
                    .set("acks", "all")
                    .set("enable.idempotence", "true");
            }
            one.set("linger.ms", "0");
        }
        let mut headers = OwnedHeaders::new();
        for (name, value) in template::attributes(Style::Kafka)? {
            headers = headers.insert(Header {
                key: &name,
                value: Some(&value),
            });
        }
        Ok(Self {
            admin: client(&servers).create()?,
            many: many.create()?,
            one: one.create()?,
            servers,
            headers,
            usage,
        })
    }

    /// Makes the topics of a load.
    async fn make(&self, load: &Load, topics: usize) -> Result<Vec<String>> {
        let names = names(load, topics);
        let wanted: Vec<_> = names
            .iter()
            .map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1)))
            .collect();
        for made in self
            .admin
            .create_topics(&wanted, &AdminOptions::new())
            .await?
        {
            made.map_err(|(name, code)| anyhow::anyhow!("{name}: {code}"))?;
        }
        Ok(names)
    }
}

fn client(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config
}

/// The topics of a load.
fn names(load: &Load, topics: usize) -> Vec<String> {
    (0..topics)
        .map(|topic| format!("raw-{}-{topic}", load.root))
        .collect()
}

#[async_trait]
impl Side for Kafka {
    fn name(&self) -> &str {
        match self.usage {
            Use::Best => "rdkafka, best practice",
            Use::Plain => "rdkafka, plain",
        }
    }

    fn guarantees(&self) -> &str {
        match self.usage {
            Use::Best => {
                "publishes confirmed by all replicas, idempotent, 10,000 in flight; positions committed every \
                 5 s and at the end: a crash hands up to 5 s out again; acks in order only; no attempts, dead \
                 letters"
            }
            Use::Plain => {
                "publishes confirmed by all replicas, linger 5 ms, 1,000 in flight; positions of what was handed out \
                 committed every 5 s, handled or not; acks in order only; no attempts, dead letters"
            }
        }
    }

    async fn run(&self, work: Work, load: &Load) -> Result<Option<Sample>> {
        Ok(Some(match work {
            Work::PublishAwaited => self.publish_awaited(load).await?,
            Work::PublishManyInFlight => self.publish_many(load).await?,
            Work::PublishBatch => self.publish_batches(load).await?,
            Work::ConsumeAck => self.backlog(load, false).await?,
            Work::ConsumeAckTuned if self.usage == Use::Best => self.backlog(load, true).await?,
            Work::FanOut => self.spread(load, 1, GROUPS).await?,
            Work::Wildcard => self.spread(load, TOPICS, 1).await?,
            Work::RequestReply => self.ask(load).await?,
            Work::DeadLetterPages if self.usage == Use::Best => {
                self.dead_letter_pages(load).await?
            }
            Work::Redrive if self.usage == Use::Best => self.redrive(load).await?,
            Work::OneByOne
            | Work::Batches
            | Work::BatchesOfJson
            | Work::ConsumeAckTuned
            | Work::DeadLetterPages
            | Work::Redrive => return Ok(None),
        }))
    }

    async fn clean(&self, namespace: &str, root: &str) -> Result<()> {
        if self.usage == Use::Plain {
            return Ok(());
        }
        let (ours, raw) = (format!("{namespace}.t.{root}"), format!("raw-{root}-"));
        let metadata = self
            .one
            .client()
            .fetch_metadata(None, Duration::from_secs(10))?;
        let topics: Vec<&str> = metadata
            .topics()
            .iter()
            .map(rdkafka::metadata::MetadataTopic::name)
            .filter(|name| *name == ours || name.starts_with(&raw))
            .collect();
        if topics.is_empty() {
            return Ok(());
        }
        self.admin
            .delete_topics(&topics, &AdminOptions::new())
            .await?;
        Ok(())
    }
}
