//! A Redis of its own for one test.

use anyhow::{Context, Result};
use bus_api::{BusClient, Connector};
use redis::Value;
use redis::aio::MultiplexedConnection;

use crate::brokers::{Broker, Kind, Setup};
pub use crate::trip::{PATIENCE, message, round_trip};

/// A local server for one test.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub broker: Broker,
}

impl Server {
    /// A server with these lines in its configuration.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(extra: impl IntoIterator<Item = String>) -> Result<Self> {
        let setup = Setup {
            extra: extra.into_iter().collect(),
            ..Setup::default()
        };
        Ok(Self {
            broker: Broker::local(Kind::Redis, setup).await?,
        })
    }

    /// A sentinel with these lines in its configuration.
    ///
    /// # Errors
    /// It does not start.
    pub async fn sentinel(extra: impl IntoIterator<Item = String>) -> Result<Self> {
        let setup = Setup {
            extra: std::iter::once("appendonly no".to_owned())
                .chain(extra)
                .collect(),
            arguments: vec!["--sentinel".to_owned()],
            ..Setup::default()
        };
        Ok(Self {
            broker: Broker::local(Kind::Redis, setup).await?,
        })
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.broker.url().replacen("redis://", "", 1)
    }

    /// Its port.
    ///
    /// # Errors
    /// The address has none.
    pub fn port(&self) -> Result<u16> {
        let address = self.address();
        let (_, port) = address.rsplit_once(':').context("no port")?;
        Ok(port.parse()?)
    }

    /// A connection of the test's own.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn raw(&self) -> Result<MultiplexedConnection> {
        let client = redis::Client::open(self.broker.url())?;
        Ok(client.get_multiplexed_async_connection().await?)
    }

    /// Runs one command as whoever may do everything.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn run(&self, words: &[&str]) -> Result<Value> {
        let [first, rest @ ..] = words else {
            anyhow::bail!("no command");
        };
        let mut raw = self.raw().await?;
        let answer = redis::cmd(first).arg(rest).query_async(&mut raw).await;
        answer.with_context(|| words.join(" "))
    }

    /// A client of the bus.
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn client(&self, options: &str) -> bus_api::Result<BusClient> {
        connect(&format!("{}{options}", self.broker.url())).await
    }
}

/// A client of the bus on any URL of Redis.
///
/// # Errors
/// As [`Connector::connect`].
pub async fn connect(url: &str) -> bus_api::Result<BusClient> {
    let schemes = [
        "redis",
        "rediss",
        "redis+sentinel",
        "rediss+sentinel",
        "unix",
    ];
    schemes
        .iter()
        .fold(Connector::new(), |connector, scheme| {
            connector.with(scheme, bus_redis::open)
        })
        .connect(url)
        .await
}
