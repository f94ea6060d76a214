//! A NATS server of its own for one test, and what tests do with it.

use std::time::Duration;

use anyhow::{Result, ensure};
use bus_api::{BusClient, Connector, Error, ErrorKind};
use tokio::time::timeout;

use crate::brokers::{Broker, Kind, Setup};
use crate::trip;
pub use crate::trip::{PATIENCE, message, next, round_trip};

/// Longer than any refusal may take, shorter than `connect_timeout`.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A local server with these lines in its configuration.
///
/// # Errors
/// It does not start.
pub async fn start(extra: impl IntoIterator<Item = String>) -> Result<Broker> {
    let setup = Setup {
        extra: extra.into_iter().collect(),
        ..Setup::default()
    };
    Broker::local(Kind::Nats, setup).await
}

/// Its `host:port`.
#[must_use]
pub fn address(broker: &Broker) -> String {
    broker.url().replacen("nats://", "", 1)
}

/// A client of the bus.
///
/// # Errors
/// As [`Connector::connect`].
pub async fn connect(url: &str) -> bus_api::Result<BusClient> {
    Connector::new()
        .with("nats", bus_nats::open)
        .with("tls", bus_nats::open)
        .connect(url)
        .await
}

/// Waits until the server knows the subscriptions of a foreign client: flushing does not.
///
/// # Errors
/// It does not answer.
pub async fn known(other: &async_nats::Client) -> Result<()> {
    let asking = other.request("$JS.API.INFO", "".into());
    timeout(PATIENCE, asking).await??;
    Ok(())
}

/// Connecting fails at once, and nothing in the error is a secret.
///
/// # Errors
/// As [`trip::refused`].
pub async fn refused(url: &str, kind: ErrorKind) -> Result<Error> {
    trip::refused(connect(url), kind, AT_ONCE).await
}

/// Everything of the bus once, after which the server has nothing to complain of.
///
/// # Errors
/// As [`trip::whole_use`], and when `health` reports a problem.
pub async fn whole_use(bus: &BusClient, dedup_id: &str) -> Result<()> {
    trip::whole_use(bus, dedup_id).await?;
    let health = bus.health().await;
    ensure!(health.problems.is_empty(), "{health:?}");
    Ok(())
}
