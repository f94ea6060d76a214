//! Redis, under test.

mod outside;
pub mod rights;
pub mod server;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bus_api::{Group, Namespace, Pattern, Result, SubscriptionId, Topic};
use bus_conformance::{Connection, Control, Factory, Foreign, Transport};
use bus_redis::{Config, RedisBus};
use redis::aio::MultiplexedConnection;

use crate::brokers::{Kind, Setup};
use crate::shared_broker::{SharedBroker, connecting, failed};
use crate::wire::Wire;

/// The user that the bus connects as.
const USER: &str = "conformance";

/// A running Redis, which all cases of a run share.
#[derive(Debug)]
pub struct RedisFactory {
    broker: SharedBroker,
    /// A user with the documented rights and no other, where the server was set up here.
    login: String,
}

impl RedisFactory {
    /// Whatever the harness finds first, writing through to the disk, so that it can be killed at will.
    ///
    /// # Errors
    /// Nothing was found.
    pub async fn start() -> anyhow::Result<Self> {
        let mut setup = Setup::synced();
        setup.extra.push(rights::line_for_all(USER)?);
        let broker = SharedBroker::start(Kind::Redis, setup).await?;
        let login = match broker.is_controlled() {
            true => format!("{USER}:{}@", rights::PASSWORD),
            // Whatever the address in the environment says.
            false => credentials(broker.url()),
        };
        Ok(Self { broker, login })
    }

    /// A connection of another client.
    async fn raw(&self) -> Result<MultiplexedConnection> {
        let client = redis::Client::open(self.broker.url()).map_err(failed)?;
        client
            .get_multiplexed_async_connection()
            .await
            .map_err(failed)
    }
}

/// `user:password@` of a URL, or nothing.
fn credentials(url: &str) -> String {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    authority
        .rsplit_once('@')
        .map_or(String::new(), |(credentials, _)| format!("{credentials}@"))
}

fn root(topic: &str) -> &str {
    topic.split('.').next().unwrap_or(topic)
}

#[async_trait]
impl Factory for RedisFactory {
    fn name(&self) -> String {
        format!("redis, {}", self.broker.why())
    }

    fn transport(&self) -> Transport {
        Transport::Redis
    }

    fn controls(&self) -> &[Control] {
        self.broker.controls()
    }

    fn virtual_time(&self) -> bool {
        false
    }

    async fn connect(&self, namespace: &Namespace, options: &[(&str, &str)]) -> Result<Connection> {
        let proxy = self.broker.way().await?;
        let url = format!("redis://{}{}", self.login, proxy.address());
        let (url, settings) = connecting(&url, namespace, options)?;
        let bus = RedisBus::open(Config::from_url(url, settings)?).await?;
        Ok(Connection {
            bus: Arc::new(bus.clone()),
            disturb: Wire::new(proxy, move || bus.kill()),
        })
    }

    async fn stop_broker(&self) -> Result<()> {
        self.broker.stop().await
    }

    async fn start_broker(&self) -> Result<()> {
        self.broker.start_again().await
    }

    async fn publish_foreign(
        &self,
        namespace: &Namespace,
        topic: &str,
        message: Foreign,
    ) -> Result<()> {
        let command = outside::entry(namespace, topic, message)?;
        let mut raw = self.raw().await?;
        command
            .query_async::<redis::Value>(&mut raw)
            .await
            .map(drop)
            .map_err(failed)
    }

    async fn forge_request(
        &self,
        namespace: &Namespace,
        topic: &str,
        wait: Duration,
    ) -> Result<bool> {
        use futures_util::StreamExt;
        const ADDRESS: &str = "forged-address";
        let client = redis::Client::open(self.broker.url()).map_err(failed)?;
        let mut channel = client.get_async_pubsub().await.map_err(failed)?;
        channel.subscribe(ADDRESS).await.map_err(failed)?;
        let mut raw = self.raw().await?;
        let members: Vec<String> = redis::cmd("ZRANGE")
            .arg(format!("{namespace}:{{~q}}:r"))
            .arg(0)
            .arg(-1)
            .query_async(&mut raw)
            .await
            .map_err(failed)?;
        let now: (u64, u64) = redis::cmd("TIME")
            .query_async(&mut raw)
            .await
            .map_err(failed)?;
        let record = outside::forged_request(ADDRESS, topic);
        for member in members {
            let Some((queue, _)) = member.rsplit_once(' ') else {
                continue;
            };
            let mut item = format!("{} ", now.0 * 1_000 + 10_000).into_bytes();
            item.extend(&record);
            redis::cmd("RPUSH")
                .arg(format!("{namespace}:{{~q}}:q:{queue}"))
                .arg(item)
                .query_async::<redis::Value>(&mut raw)
                .await
                .map_err(failed)?;
        }
        let mut messages = channel.on_message();
        Ok(tokio::time::timeout(wait, messages.next()).await.is_ok())
    }

    async fn lose_subscription(
        &self,
        namespace: &Namespace,
        group: &str,
        pattern: &str,
    ) -> Result<()> {
        let pattern = Pattern::new(pattern)?;
        let sub = SubscriptionId::new(Group::new(group)?, pattern.clone()).broker_name();
        let mut raw = self.raw().await?;
        let prefix = format!("{namespace}:");
        for key in self.keys(&mut raw, namespace).await? {
            let topic = key
                .strip_prefix(&prefix)
                .and_then(|rest| rest.split_once("}:s:"))
                .and_then(|(_, topic)| Topic::new(topic).ok());
            if topic.is_some_and(|topic| pattern.matches(&topic)) {
                redis::cmd("XGROUP")
                    .arg("DESTROY")
                    .arg(&key)
                    .arg(&sub)
                    .query_async::<redis::Value>(&mut raw)
                    .await
                    .map_err(failed)?;
            }
        }
        Ok(())
    }

    async fn lose_log(&self, namespace: &Namespace, topic: &str) -> Result<()> {
        let mut raw = self.raw().await?;
        redis::cmd("DEL")
            .arg(format!("{namespace}:{{{}}}:s:{topic}", root(topic)))
            .query_async::<redis::Value>(&mut raw)
            .await
            .map(drop)
            .map_err(failed)
    }

    async fn store_newer_records(
        &self,
        namespace: &Namespace,
        group: &str,
        pattern: &str,
    ) -> Result<()> {
        let id = SubscriptionId::new(Group::new(group)?, Pattern::new(pattern)?);
        let suffix = format!("}}:r:{}", id.broker_name());
        let mut raw = self.raw().await?;
        for key in self.keys(&mut raw, namespace).await? {
            if !key.ends_with(&suffix) {
                continue;
            }
            let names: Vec<String> = redis::cmd("HKEYS")
                .arg(&key)
                .query_async(&mut raw)
                .await
                .map_err(failed)?;
            for name in names {
                redis::cmd("HSET")
                    .arg(&key)
                    .arg(name)
                    .arg(&[bus_api::AttemptRecord::VERSION + 1, 0, 0][..])
                    .query_async::<redis::Value>(&mut raw)
                    .await
                    .map_err(failed)?;
            }
        }
        Ok(())
    }

    async fn leftovers(&self, namespace: &Namespace) -> Result<Vec<String>> {
        let mut raw = self.raw().await?;
        let mut found = Vec::new();
        for key in self.keys(&mut raw, namespace).await? {
            let rest = key.split_once('}').map_or("", |(_, rest)| rest);
            if key.contains("{~q}") {
                // A list of requests goes with its time to live.
                found.push(key);
            } else if rest.starts_with(":m:") || rest.starts_with(":l:") || rest.starts_with(":x:")
            {
                found.push(key);
            } else if rest.starts_with(":s:") {
                let groups: Vec<Vec<redis::Value>> = redis::cmd("XINFO")
                    .arg("GROUPS")
                    .arg(&key)
                    .query_async(&mut raw)
                    .await
                    .map_err(failed)?;
                for group in groups {
                    let name: String = group
                        .get(1)
                        .and_then(|name| redis::from_redis_value(name.clone()).ok())
                        .unwrap_or_default();
                    let consumers: Vec<Vec<redis::Value>> = redis::cmd("XINFO")
                        .arg("CONSUMERS")
                        .arg(&key)
                        .arg(&name)
                        .query_async(&mut raw)
                        .await
                        .map_err(failed)?;
                    for consumer in consumers {
                        let consumer: String = consumer
                            .get(1)
                            .and_then(|name| redis::from_redis_value(name.clone()).ok())
                            .unwrap_or_default();
                        if !consumer.starts_with('~') {
                            found.push(format!("consumer {consumer} of {name} on {key}"));
                        }
                    }
                }
            }
        }
        let channels: Vec<String> = redis::cmd("PUBSUB")
            .arg("CHANNELS")
            .arg(format!("{namespace}:{{~q}}:i:*"))
            .query_async(&mut raw)
            .await
            .map_err(failed)?;
        found.extend(channels);
        Ok(found)
    }
}

impl RedisFactory {
    /// All keys of a namespace.
    async fn keys(
        &self,
        raw: &mut MultiplexedConnection,
        namespace: &Namespace,
    ) -> Result<Vec<String>> {
        redis::cmd("KEYS")
            .arg(format!("{namespace}:*"))
            .query_async(raw)
            .await
            .map_err(failed)
    }
}
