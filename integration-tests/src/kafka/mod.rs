//! Kafka, under test.

mod evict;
mod outside;
pub mod server;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bus_api::{Error, Group, Namespace, Pattern, Result, SubscriptionId};
use bus_conformance::{Connection, Control, Factory, Foreign, Transport};
use bus_kafka::{Config, KafkaBus};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::MetadataTopic;
use tokio::runtime::Handle;

use crate::brokers::{Kind, Proxy, Setup};
use crate::shared_broker::{SharedBroker, connecting, failed};
use crate::wire::Wire;

/// How long nobody holds a connection of a namespace before its case is taken to be over.
const IDLE: Duration = Duration::from_secs(8);
/// How long the test's own clients wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running Kafka, which all cases of a run share.
#[derive(Debug)]
pub struct KafkaFactory {
    broker: SharedBroker,
    /// Carries the proxies, which outlive the cases.
    runtime: Handle,
    spaces: std::sync::Mutex<HashMap<Namespace, Space>>,
}

/// A namespace of a case that runs, or has run.
#[derive(Debug, Default)]
struct Space {
    connections: Vec<Weak<Wire>>,
    proxies: Vec<Arc<Proxy>>,
    idle_since: Option<Instant>,
}

impl Space {
    /// Whether its case is over: nobody has held a connection for a while.
    fn is_over(&mut self) -> bool {
        if self.connections.iter().any(|wire| wire.strong_count() > 0) {
            self.idle_since = None;
            return false;
        }
        self.idle_since.get_or_insert_with(Instant::now).elapsed() > IDLE
    }
}

impl KafkaFactory {
    /// Whatever the harness finds first.
    ///
    /// # Errors
    /// Nothing was found.
    pub async fn start() -> anyhow::Result<Self> {
        Ok(Self {
            broker: SharedBroker::start(Kind::Kafka, Setup::default()).await?,
            runtime: Handle::current(),
            spaces: std::sync::Mutex::default(),
        })
    }

    /// The settings of the test's own clients.
    fn raw(&self) -> Result<ClientConfig> {
        let (host, port) = self.broker.host().map_err(failed)?;
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", format!("{host}:{port}"));
        Ok(client)
    }

    fn spaces(&self) -> std::sync::MutexGuard<'_, HashMap<Namespace, Space>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the ways of cases that are over, and deletes their Kafka topics: a broker with thousands of them is slow to
    /// restart.
    fn forget_what_is_over(&self) {
        let mut over = Vec::new();
        self.spaces().retain(|namespace, space| {
            let is_over = space.is_over();
            if is_over {
                over.push(format!("{namespace}."));
                // What is closed without a way to its broker waits, and tries to connect many times a second.
                space.proxies.iter().for_each(|proxy| proxy.heal());
            }
            !is_over
        });
        let Ok(client) = self.raw() else {
            return;
        };
        if over.is_empty() {
            return;
        }
        // Whether it works is no matter of the cases.
        std::thread::spawn(move || {
            let admin: AdminClient<DefaultClientContext> = client.create().ok()?;
            let found = admin.inner().fetch_metadata(None, PATIENCE).ok()?;
            let names: Vec<&str> = found
                .topics()
                .iter()
                .map(MetadataTopic::name)
                .filter(|name| over.iter().any(|prefix| name.starts_with(prefix)))
                .collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
            let deleted = runtime.block_on(admin.delete_topics(&names, &AdminOptions::new()));
            deleted.ok().map(drop)
        });
    }

    /// A way to the broker that can be cut.
    async fn way(&self) -> Result<Arc<Proxy>> {
        let (host, port) = self.broker.host().map_err(failed)?;
        let target = self.broker.address().map_err(failed)?;
        let starting = self
            .runtime
            .spawn(async move { Proxy::before_kafka(target, (&host, port)).await });
        let proxy = starting.await.map_err(failed)?.map_err(failed)?;
        Ok(self.broker.keep(proxy))
    }
}

/// The Kafka group of a durable subscription.
fn kafka_group(namespace: &Namespace, group: &str, pattern: &str) -> Result<String> {
    let id = SubscriptionId::new(Group::new(group)?, Pattern::new(pattern)?);
    Ok(format!("{namespace}.s.{}", id.broker_name()))
}

fn root(topic: &str) -> String {
    let root = topic.split('.').next().unwrap_or(topic);
    root.replace('-', "--").replace('_', "-u")
}

#[async_trait]
impl Factory for KafkaFactory {
    fn name(&self) -> String {
        format!("kafka, {}", self.broker.why())
    }

    fn transport(&self) -> Transport {
        Transport::Kafka
    }

    fn controls(&self) -> &[Control] {
        self.broker.controls()
    }

    fn virtual_time(&self) -> bool {
        false
    }

    async fn connect(&self, namespace: &Namespace, options: &[(&str, &str)]) -> Result<Connection> {
        let proxy = self.way().await?;
        self.forget_what_is_over();
        let more = Kind::Kafka.more_options();
        let url = format!("kafka://{}?partitions=2{more}", proxy.address());
        let (url, settings) = connecting(&url, namespace, options)?;
        let bus = KafkaBus::open(Config::from_url(url, settings)?).await?;
        let wire = Wire::new(Arc::clone(&proxy), {
            let (bus, proxy) = (bus.clone(), Arc::clone(&proxy));
            move || {
                // First the way: the client library would say good-bye.
                proxy.cut();
                bus.kill();
            }
        });
        let mut spaces = self.spaces();
        let space = spaces.entry(namespace.clone()).or_default();
        space.connections.push(Arc::downgrade(&wire));
        space.proxies.push(proxy);
        Ok(Connection {
            bus: Arc::new(bus),
            disturb: wire,
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
        let log = format!("{namespace}.t.{}", root(topic));
        outside::publish(self.raw()?, log, topic, message).await
    }

    async fn forge_request(
        &self,
        namespace: &Namespace,
        topic: &str,
        wait: Duration,
    ) -> Result<bool> {
        outside::forge(self.raw()?, namespace, topic, wait).await
    }

    async fn lose_subscription(
        &self,
        namespace: &Namespace,
        group: &str,
        pattern: &str,
    ) -> Result<()> {
        let group = kafka_group(namespace, group, pattern)?;
        let address = self.broker.address().map_err(failed)?;
        outside::lose_group(self.raw()?, address, group).await
    }

    async fn lose_log(&self, namespace: &Namespace, topic: &str) -> Result<()> {
        let log = format!("{namespace}.t.{}", root(topic));
        outside::delete(self.raw()?, log).await
    }

    async fn store_newer_records(
        &self,
        namespace: &Namespace,
        group: &str,
        pattern: &str,
    ) -> Result<()> {
        let group = kafka_group(namespace, group, pattern)?;
        outside::store_newer(self.raw()?, group, format!("{namespace}.t.")).await
    }

    async fn leftovers(&self, namespace: &Namespace) -> Result<Vec<String>> {
        let prefix = format!("{namespace}.");
        let client = self.raw()?;
        let found = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = client.create().map_err(failed)?;
            let groups = consumer.fetch_group_list(None, PATIENCE).map_err(failed)?;
            let left = groups
                .groups()
                .iter()
                .filter(|group| group.name().starts_with(&prefix))
                .filter(|group| {
                    // Groups of responders and of durable subscriptions stay; members of the latter do not.
                    let kind = &group.name()[prefix.len()..];
                    kind == "n" || (kind.starts_with("s.") && !group.members().is_empty())
                })
                .map(|group| group.name().to_owned())
                .collect();
            Ok::<Vec<String>, Error>(left)
        });
        found.await.map_err(failed)?
    }
}
