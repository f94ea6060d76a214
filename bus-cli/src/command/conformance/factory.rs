//! A bus of which only the URL is known, under test.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use bus::{BusUrl, Config, Connector, Error, ErrorKind, Namespace};
use bus_conformance::{Connection, Control, Disturb, Factory, Foreign, Transport};

/// Connects by URL and can do nothing else to the broker.
pub(super) struct UrlFactory {
    url: BusUrl,
    transport: Transport,
}

impl UrlFactory {
    /// Connects once, to know the transport.
    pub(super) async fn new(config: &Config) -> Result<Self> {
        let bus = config.connect().await?;
        let transport = match config.url().scheme() {
            "memory" => Transport::Memory,
            "redis" | "rediss" | "redis+sentinel" | "rediss+sentinel" | "unix" => Transport::Redis,
            "nats" | "tls" => Transport::Nats {
                replicas: config
                    .url()
                    .options()
                    .get("replicas")
                    .and_then(|text| text.parse().ok())
                    .unwrap_or(1),
            },
            "kafka" => Transport::Kafka,
            _ => Transport::Other(bus.capabilities().clone()),
        };
        bus.close().await?;
        let mut url = config.url().clone();
        if url.scheme() == "memory" && url.hosts().is_empty() {
            // Connections share a broker in memory by its name.
            let named: BusUrl = "memory://conformance".parse()?;
            let options = std::mem::take(url.options_mut());
            url = named;
            *url.options_mut() = options;
        }
        Ok(Self { url, transport })
    }
}

/// Nothing can be done to a connection.
struct Nothing;

#[async_trait]
impl Disturb for Nothing {
    async fn kill(&self) {}

    async fn cut(&self) {}

    async fn heal(&self) {}
}

fn cannot<T>() -> bus::Result<T> {
    Err(Error::new(
        ErrorKind::Unsupported,
        "of this bus only the URL is known",
    ))
}

#[async_trait]
impl Factory for UrlFactory {
    fn name(&self) -> String {
        self.url.scheme().to_owned()
    }

    fn transport(&self) -> Transport {
        self.transport.clone()
    }

    fn controls(&self) -> &[Control] {
        &[]
    }

    fn virtual_time(&self) -> bool {
        false
    }

    async fn connect(
        &self,
        namespace: &Namespace,
        options: &[(&str, &str)],
    ) -> bus::Result<Connection> {
        let mut url = self.url.clone();
        for (name, value) in options {
            url.options_mut().set(*name, *value);
        }
        url.options_mut().set("namespace", namespace.as_str());
        let client = Connector::new().connect(url).await?;
        Ok(Connection {
            bus: Arc::clone(client.adapter()),
            disturb: Arc::new(Nothing),
        })
    }

    async fn stop_broker(&self) -> bus::Result<()> {
        cannot()
    }

    async fn start_broker(&self) -> bus::Result<()> {
        cannot()
    }

    async fn publish_foreign(&self, _: &Namespace, _: &str, _: Foreign) -> bus::Result<()> {
        cannot()
    }

    async fn forge_request(&self, _: &Namespace, _: &str, _: Duration) -> bus::Result<bool> {
        cannot()
    }

    async fn lose_subscription(&self, _: &Namespace, _: &str, _: &str) -> bus::Result<()> {
        cannot()
    }

    async fn lose_log(&self, _: &Namespace, _: &str) -> bus::Result<()> {
        cannot()
    }

    async fn store_newer_records(&self, _: &Namespace, _: &str, _: &str) -> bus::Result<()> {
        cannot()
    }

    async fn leftovers(&self, _: &Namespace) -> bus::Result<Vec<String>> {
        cannot()
    }
}
