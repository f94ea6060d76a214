//! Redis Streams with the crate `redis`.

mod consume;
mod dead;
mod publish;
mod question;

use anyhow::Result;
use async_trait::async_trait;
use bus::cloudevents::Style;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, Value};

use super::{Use, template};
use crate::load::Load;
use crate::side::{Sample, Side};
use crate::work::{GROUPS, TOPICS, Work};

/// Redis, used without the bus.
pub(super) struct Redis {
    client: Client,
    connection: MultiplexedConnection,
    /// Fields that come before the payload.
    fields: Vec<(String, Vec<u8>)>,
    usage: Use,
}

impl Redis {
    pub(super) async fn connect(url: &str, usage: Use) -> Result<Self> {
        let mut info = url.into_connection_info()?;
        if usage == Use::Best {
            info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        }
        let client = Client::open(info)?;
        Ok(Self {
            connection: client.get_multiplexed_async_connection().await?,
            client,
            fields: template::attributes(Style::Redis)?,
            usage,
        })
    }

    /// A connection that may wait for ever.
    async fn reader(&self) -> Result<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        Ok(connecting.await?)
    }

    /// The command that stores message `number`.
    fn add(&self, stream: &str, load: &Load, number: usize) -> Cmd {
        let mut add = redis::cmd("XADD");
        add.arg(stream).arg("*");
        for (name, value) in &self.fields {
            add.arg(name).arg(&value[..]);
        }
        add.arg("data").arg(&load.payload(number)[..]);
        add
    }
}

/// The streams of a load.
fn streams(load: &Load, topics: usize) -> Vec<String> {
    (0..topics)
        .map(|topic| format!("raw:{{{}}}:{topic}", load.root))
        .collect()
}

/// The payload of an entry.
fn payload(fields: &[Value]) -> Option<&[u8]> {
    fields.chunks_exact(2).find_map(|pair| match pair {
        [Value::BulkString(name), Value::BulkString(data)] if name == b"data" => Some(&data[..]),
        _ => None,
    })
}

#[async_trait]
impl Side for Redis {
    fn name(&self) -> &str {
        match self.usage {
            Use::Best => "redis, best practice",
            Use::Plain => "redis, plain",
        }
    }

    fn guarantees(&self) -> &str {
        match self.usage {
            Use::Best => {
                "publishes confirmed in pipelines of 100, four at a time; acks confirmed, one XACK for all \
                 entries of a read of 100 (tuned: 500, overlapping); no lease, attempts, dead letters; \
                 requests by PUBLISH both ways, which lose what nobody listens to"
            }
            Use::Plain => {
                "publishes confirmed one by one, 64 at a time; acks confirmed, one XACK for each entry; no \
                 lease, attempts, dead letters; requests by RPUSH and BLPOP both ways"
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
            Work::RequestReply => self.ask(load).await?,
            Work::DeadLetterPages => self.dead_letter_pages(load).await?,
            Work::Redrive => self.redrive(load).await?,
            Work::OneByOne | Work::Batches | Work::BatchesOfJson => return Ok(None),
        }))
    }

    async fn server(&self) -> Option<String> {
        let mut connection = self.connection.clone();
        let info: String = redis::cmd("INFO")
            .arg("server")
            .query_async(&mut connection)
            .await
            .ok()?;
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("redis_version:"));
        Some(format!("Redis {}", line?.trim()))
    }

    async fn clean(&self, namespace: &str, root: &str) -> Result<()> {
        if self.usage == Use::Plain {
            return Ok(());
        }
        let mut connection = self.connection.clone();
        for pattern in [
            format!("{namespace}:{{{root}}}:*"),
            format!("raw:{{{root}}}:*"),
        ] {
            let keys: Vec<String> = redis::cmd("KEYS")
                .arg(&pattern)
                .query_async(&mut connection)
                .await?;
            if !keys.is_empty() {
                let _: Value = redis::cmd("UNLINK")
                    .arg(keys)
                    .query_async(&mut connection)
                    .await?;
            }
        }
        Ok(())
    }
}
