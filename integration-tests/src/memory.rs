//! The bus in memory, under test.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bus_api::{
    BusUrl, Error, ErrorKind, Group, Headers, Message, MessageId, Metadata, Namespace, Pattern,
    ReplyTo, Result, Settings, SubscriptionId, Topic, clock,
};
use bus_conformance::{Connection, Control, Disturb, Factory, Foreign, Transport};
use bus_memory::{Broker, Config, MemoryBus};

/// One broker in memory, which all cases of a run share as they would a real one.
#[derive(Clone, Debug)]
pub struct MemoryFactory {
    broker: Broker,
    virtual_time: bool,
}

impl MemoryFactory {
    /// Cases run in real time.
    #[must_use]
    pub fn real_time() -> Self {
        Self {
            broker: Broker::new(),
            virtual_time: false,
        }
    }

    /// Cases run on tokio's paused clock: leases, delays and silence take no time.
    #[must_use]
    pub fn virtual_time() -> Self {
        Self {
            broker: Broker::new(),
            virtual_time: true,
        }
    }

    fn open(&self, namespace: &Namespace, options: &[(&str, &str)]) -> Result<MemoryBus> {
        let mut url: BusUrl = "memory://".parse()?;
        for (name, value) in options {
            url.options_mut().set(*name, *value);
        }
        let mut settings = Settings::take(url.options_mut())?;
        settings.namespace = namespace.clone();
        Ok(MemoryBus::on(
            self.broker.clone(),
            Config::from_url(url, settings)?,
        ))
    }
}

struct Wire(MemoryBus);

#[async_trait]
impl Disturb for Wire {
    async fn kill(&self) {
        self.0.kill();
    }

    async fn cut(&self) {
        self.0.cut();
    }

    async fn heal(&self) {
        self.0.heal();
    }
}

#[async_trait]
impl Factory for MemoryFactory {
    fn name(&self) -> String {
        let clock = if self.virtual_time { "virtual" } else { "real" };
        format!("memory, {clock} time")
    }

    fn transport(&self) -> Transport {
        Transport::Memory
    }

    fn controls(&self) -> &[Control] {
        &[
            Control::Kill,
            Control::Cut,
            Control::Restart,
            Control::Foreign,
            Control::ForgeRequest,
            Control::LoseSubscription,
            Control::LoseLog,
            Control::NewerRecord,
            Control::Leftovers,
        ]
    }

    fn virtual_time(&self) -> bool {
        self.virtual_time
    }

    async fn connect(&self, namespace: &Namespace, options: &[(&str, &str)]) -> Result<Connection> {
        let bus = self.open(namespace, options)?;
        bus.ready().await?;
        Ok(Connection {
            bus: Arc::new(bus.clone()),
            disturb: Arc::new(Wire(bus)),
        })
    }

    async fn stop_broker(&self) -> Result<()> {
        self.broker.stop();
        Ok(())
    }

    async fn start_broker(&self) -> Result<()> {
        self.broker.start();
        Ok(())
    }

    async fn publish_foreign(
        &self,
        namespace: &Namespace,
        topic: &str,
        message: Foreign,
    ) -> Result<()> {
        let topic = Topic::new(topic)?;
        let foreign = match message {
            Foreign::Plain { payload, headers } => {
                let mut kept = Headers::new();
                for (name, value) in headers {
                    kept.set(name, value);
                }
                bus_memory::Foreign::Plain {
                    payload,
                    headers: kept,
                }
            }
            Foreign::Structured { json } => bus_memory::Foreign::Structured { json },
            Foreign::Malformed { payload } => bus_memory::Foreign::Malformed {
                payload,
                reason: "not written by the bus".into(),
            },
            _ => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "this kind of foreign message does not exist in memory",
                ));
            }
        };
        self.broker.publish_foreign(namespace, &topic, foreign)?;
        Ok(())
    }

    async fn forge_request(
        &self,
        namespace: &Namespace,
        topic: &str,
        wait: Duration,
    ) -> Result<bool> {
        let metadata = Metadata::new(MessageId::new("forged"), "forger".into(), clock::now());
        let message = Message::new(Topic::new(topic)?, metadata, "{}".into());
        self.broker
            .forge_request(namespace, message, ReplyTo::new("forged"), wait)
            .await
    }

    async fn lose_subscription(
        &self,
        namespace: &Namespace,
        group: &str,
        pattern: &str,
    ) -> Result<()> {
        let id = SubscriptionId::new(Group::new(group)?, Pattern::new(pattern)?);
        self.broker.lose_subscription(namespace, &id)?;
        Ok(())
    }

    async fn lose_log(&self, namespace: &Namespace, topic: &str) -> Result<()> {
        self.broker.lose_log(namespace, &Topic::new(topic)?)?;
        Ok(())
    }

    async fn store_newer_records(
        &self,
        namespace: &Namespace,
        group: &str,
        pattern: &str,
    ) -> Result<()> {
        let id = SubscriptionId::new(Group::new(group)?, Pattern::new(pattern)?);
        self.broker.store_newer_records(namespace, &id)?;
        Ok(())
    }

    async fn leftovers(&self, namespace: &Namespace) -> Result<Vec<String>> {
        Ok(self.open(namespace, &[])?.leftovers())
    }
}
