//! One message through the whole bus, on whichever transport.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bus_api::{BusClient, Raw, Start, Topic};
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
    let received = timeout(PATIENCE, inbox.next())
        .await?
        .context("it ended")??;
    ensure!(received.event().payload == "there and back");
    received.ack().await?;
    inbox.close().await?;
    Ok(())
}
