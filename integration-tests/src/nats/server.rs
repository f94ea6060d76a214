//! A NATS server of its own for one test, and what tests do with it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bus_api::{BusClient, Connector, Error, ErrorKind, Raw, Received, Start, Subscription, Topic};
use tokio::time::timeout;

use crate::brokers::{Broker, Kind, Setup};

/// How long a test waits for something that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(20);
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

/// A message that says something.
///
/// # Errors
/// It is no topic.
pub fn message(topic: &str, text: &str) -> Result<Raw> {
    let topic = Topic::new(topic)?;
    Ok(Raw::new(topic, "test.text", "text/plain", text.to_owned()))
}

/// The next message.
///
/// # Errors
/// There is none in time.
pub async fn next(inbox: &mut Subscription<Raw>) -> Result<Received<Raw>> {
    let received = timeout(PATIENCE, inbox.next()).await?;
    received.context("it ended")?.map_err(Into::into)
}

/// Sends a message through the whole bus and settles it.
///
/// # Errors
/// It does not arrive.
pub async fn round_trip(bus: &BusClient, topic: &str) -> Result<()> {
    let mut inbox = bus
        .subscribe::<Raw>("round-trip")
        .pattern(topic)
        .start_at(Start::Latest)
        .await?;
    bus.publish(&message(topic, "there and back")?).await?;
    let received = next(&mut inbox).await?;
    ensure!(received.event().payload == "there and back");
    received.ack().await?;
    inbox.close().await?;
    Ok(())
}

/// Connecting fails at once, and nothing in the error is a secret.
///
/// # Errors
/// It does not, or says one.
pub async fn refused(url: &str, kind: ErrorKind) -> Result<Error> {
    let begun = Instant::now();
    let outcome = connect(url).await;
    let took = begun.elapsed();
    let error = outcome.err().context("the connection was made")?;
    ensure!(error.kind() == kind, "{error:?} is not {kind}");
    ensure!(took < AT_ONCE, "it took {took:?}");
    let said = format!("{error:?} {error}");
    ensure!(!said.contains("secret"), "{said}");
    Ok(error)
}

/// Publishing, a failure, a dead letter, a redrive, a broadcast.
///
/// # Errors
/// One of them does not work.
pub async fn whole_use(bus: &BusClient, dedup_id: &str) -> Result<()> {
    let mut inbox = bus.subscribe::<Raw>("g").pattern("r.>").await?;
    let mut heard = bus.broadcast::<Raw>().pattern("r.a").await?;
    let sent = message("r.a", "one")?;
    bus.publish(&sent).dedup_id(dedup_id).await?;
    let again = bus.publish(&sent).dedup_id(dedup_id).await?;
    ensure!(again.duplicate);
    next(&mut heard).await?.ack().await?;
    next(&mut inbox)
        .await?
        .nack_after(Duration::from_millis(50))
        .await?;
    let failed = next(&mut inbox).await?;
    ensure!(failed.attempt() == 2);
    failed.dead_letter("of no use").await?;
    let dead = bus.dead_letters("g");
    ensure!(dead.redrive(&bus_api::Filter::default()).await?.done == 1);
    next(&mut inbox).await?.ack().await?;
    inbox.close().await?;
    heard.close().await?;
    let health = bus.health().await;
    ensure!(health.problems.is_empty(), "{health:?}");
    Ok(())
}
