//! A Kafka of its own for one test.

use anyhow::Result;
use bus_api::{BusClient, Connector};

use crate::brokers::{Broker, Kind, Setup, free_port, kafka_tool};

/// A local broker for one test.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub broker: Broker,
    ports: Vec<u16>,
}

impl Server {
    /// A broker with more listeners, each a name and a security protocol, and with these lines in its
    /// configuration. `arguments` are those of formatting its storage.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(
        listeners: &[(&str, &str)],
        extra: impl IntoIterator<Item = String>,
        arguments: &[&str],
    ) -> Result<Self> {
        let mut ports = Vec::new();
        let mut at = vec!["PLAINTEXT://127.0.0.1:{main}".to_owned()];
        let mut protocols = vec!["PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned()];
        for (name, protocol) in listeners {
            let port = free_port()?;
            at.push(format!("{name}://127.0.0.1:{port}"));
            protocols.push(format!("{name}:{protocol}"));
            ports.push(port);
        }
        let at = at.join(",");
        let mut lines = vec![
            format!("listeners={at},CONTROLLER://127.0.0.1:{{side}}"),
            format!("advertised.listeners={at}"),
            format!("listener.security.protocol.map={}", protocols.join(",")),
        ];
        lines.extend(extra);
        let setup = Setup {
            extra: lines,
            arguments: arguments.iter().copied().map(str::to_owned).collect(),
            ..Setup::default()
        };
        Ok(Self {
            broker: Broker::local(Kind::Kafka, setup).await?,
            ports,
        })
    }

    /// `host:port` of the listener that wants nothing.
    #[must_use]
    pub fn address(&self) -> String {
        self.broker.url().replacen("kafka://", "", 1)
    }

    /// `host:port` of the listener with this number.
    #[must_use]
    pub fn listener(&self, number: usize) -> String {
        format!("127.0.0.1:{}", self.ports[number])
    }

    /// Runs one of Kafka's own tools against it, as whoever may do everything; returns what it says.
    ///
    /// # Errors
    /// It fails.
    pub async fn tool(&self, class: &str, arguments: &[&str], input: &str) -> Result<String> {
        let address = self.address();
        let mut all = vec!["--bootstrap-server", &address];
        all.extend(arguments);
        kafka_tool(class, &all, input).await
    }
}

/// A client of the bus on any URL of Kafka.
///
/// # Errors
/// As [`Connector::connect`].
pub async fn connect(url: &str) -> bus_api::Result<BusClient> {
    Connector::new()
        .with("kafka", bus_kafka::open)
        .connect(url)
        .await
}
