//! What tests of every transport do with a bus: send and settle, use all of it, and be refused.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bus_api::{BusClient, Error, ErrorKind, Filter, Raw, Received, Start, Subscription, Topic};
use tokio::time::timeout;

/// How long a test waits for something that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A message of a topic, with a text.
///
/// # Errors
/// The topic is none.
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

/// Connecting fails within `at_once`, and nothing in the error is a secret.
///
/// # Errors
/// It does not, or says one.
pub async fn refused(
    connecting: impl Future<Output = bus_api::Result<BusClient>>,
    kind: ErrorKind,
    at_once: Duration,
) -> Result<Error> {
    let begun = Instant::now();
    let outcome = connecting.await;
    let took = begun.elapsed();
    let error = outcome.err().context("the connection was made")?;
    ensure!(error.kind() == kind, "{error:?} is not {kind}");
    ensure!(took < at_once, "it took {took:?}");
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
    ensure!(dead.redrive(&Filter::default()).await?.done == 1);
    next(&mut inbox).await?.ack().await?;
    inbox.close().await?;
    heard.close().await?;
    Ok(())
}
