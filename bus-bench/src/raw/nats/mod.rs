//! NATS JetStream with the crate `async-nats`.

mod consume;
mod dead;
mod publish;
mod question;

use anyhow::Result;
use async_nats::jetstream::{self, Context, stream};
use async_nats::{Client, HeaderMap, HeaderName, HeaderValue};
use async_trait::async_trait;
use bus::cloudevents::Style;

use super::{Use, template};
use crate::load::Load;
use crate::side::{Sample, Side};
use crate::work::{GROUPS, TOPICS, Work};

/// NATS, used without the bus.
pub(super) struct Nats {
    client: Client,
    jetstream: Context,
    headers: HeaderMap,
    usage: Use,
}

impl Nats {
    pub(super) async fn connect(url: &str, usage: Use) -> Result<Self> {
        let client = async_nats::connect(url).await?;
        let mut headers = HeaderMap::new();
        for (name, value) in template::attributes(Style::Nats)? {
            let name: HeaderName = name.parse()?;
            let value: HeaderValue = std::str::from_utf8(&value)?.parse()?;
            headers.insert(name, value);
        }
        Ok(Self {
            jetstream: jetstream::new(client.clone()),
            client,
            headers,
            usage,
        })
    }

    /// The stream of a load, with one replica in files as the bus makes its own.
    async fn stream(&self, load: &Load) -> Result<stream::Stream> {
        let config = stream::Config {
            name: format!("raw-{}", load.root),
            subjects: vec![format!("raw.{}.>", load.root)],
            ..stream::Config::default()
        };
        Ok(self.jetstream.create_stream(config).await?)
    }
}

/// The subjects of a load.
fn subjects(load: &Load, topics: usize) -> Vec<String> {
    (0..topics)
        .map(|topic| format!("raw.{}.{topic}.done", load.root))
        .collect()
}

#[async_trait]
impl Side for Nats {
    fn name(&self) -> &str {
        match self.usage {
            Use::Best => "async-nats, best practice",
            Use::Plain => "async-nats, plain",
        }
    }

    fn guarantees(&self) -> &str {
        match self.usage {
            Use::Best => {
                "publishes confirmed, 1,000 in flight; every ack confirmed, 256 in flight (tuned: 1,024); no \
                 attempts, dead letters; requests over core NATS"
            }
            Use::Plain => {
                "publishes confirmed, 64 in flight; acks sent and NOT confirmed: a crash of the server loses \
                 some; no attempts, dead letters"
            }
        }
    }

    async fn run(&self, work: Work, load: &Load) -> Result<Option<Sample>> {
        Ok(Some(match work {
            Work::PublishAwaited => self.publish_awaited(load).await?,
            Work::PublishManyInFlight => self.publish_many(load).await?,
            Work::PublishBatch => self.publish_batches(load).await?,
            Work::ConsumeAck => self.backlog(load, false).await?,
            Work::ConsumeAckTuned => self.backlog(load, true).await?,
            Work::FanOut => self.spread(load, 1, GROUPS).await?,
            Work::Wildcard => self.spread(load, TOPICS, 1).await?,
            Work::RequestReply if self.usage == Use::Best => self.ask(load).await?,
            Work::DeadLetterPages if self.usage == Use::Best => {
                self.dead_letter_pages(load).await?
            }
            Work::Redrive => self.redrive(load).await?,
            Work::OneByOne
            | Work::Batches
            | Work::BatchesOfJson
            | Work::RequestReply
            | Work::DeadLetterPages => {
                return Ok(None);
            }
        }))
    }

    async fn server(&self) -> Option<String> {
        Some(format!("nats-server {}", self.client.server_info().version))
    }

    async fn clean(&self, namespace: &str, root: &str) -> Result<()> {
        if self.usage == Use::Plain {
            return Ok(());
        }
        // Most rounds have no such stream.
        let _ = self.jetstream.delete_stream(format!("raw-{root}")).await;
        let stream = self.jetstream.get_stream(format!("{namespace}-t")).await?;
        for subject in [
            format!("{namespace}.t.{root}"),
            format!("{namespace}.t.{root}.>"),
        ] {
            stream.purge().filter(subject).await?;
        }
        Ok(())
    }
}
