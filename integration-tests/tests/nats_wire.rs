//! NATS: what other clients write is delivered, and what the bus writes can be read with them (P5, P6).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bus_api::{BusClient, Connector, MessageId, Raw, Start, Topic};
use futures_util::StreamExt;
use integration_tests::brokers::{Broker, Kind, Setup};
use integration_tests::nats::server::known;
use tokio::time::timeout;

/// How long a test waits for something that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

async fn start() -> Result<(Broker, BusClient, async_nats::Client)> {
    let server = Broker::local(Kind::Nats, Setup::default()).await?;
    let bus = Connector::new()
        .with("nats", bus_nats::open)
        .connect(server.url())
        .await?;
    let other = async_nats::connect(server.url()).await?;
    Ok((server, bus, other))
}

#[tokio::test]
async fn what_the_bus_writes_can_be_read_with_any_client() -> Result<()> {
    let (_server, bus, other) = start().await?;
    let mut seen = other.subscribe("bus.t.>").await?;
    known(&other).await?;
    let topic = Topic::new("orders.placed")?;
    let raw = Raw::new(topic, "test.text", "text/plain", "seven".to_owned());
    bus.publish(&raw.with_key("k e y"))
        .id(MessageId::new("id-7"))
        .header("tenant", "a")
        .await?;
    let message = timeout(PATIENCE, seen.next()).await?.context("it ended")?;
    ensure!(&*message.subject == "bus.t.orders.placed");
    ensure!(message.payload == "seven");
    let headers = message.headers.context("no headers")?;
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "id-7"),
        ("ce-type", "test.text"),
        ("ce-datacontenttype", "text/plain"),
        ("bus-key", "k%20e%20y"),
        ("bus-format", "1"),
        ("tenant", "a"),
    ] {
        let found = headers.get(name).map(async_nats::HeaderValue::as_str);
        ensure!(found == Some(value), "{name} is {found:?} in {headers:?}");
    }
    for name in ["ce-source", "ce-time"] {
        ensure!(headers.get(name).is_some(), "{name} is missing");
    }
    Ok(())
}

#[tokio::test]
async fn what_others_write_is_delivered() -> Result<()> {
    let (_server, bus, other) = start().await?;
    let mut inbox = bus
        .subscribe::<Raw>("g")
        .pattern("orders.>")
        .start_at(Start::Earliest)
        .await?;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Colour", "red");
    other
        .publish_with_headers("bus.t.orders.placed", headers, "one".into())
        .await?;
    // A subject that is no topic stops nothing: it is a dead letter that says so.
    other.publish("bus.t.orders.b@d", "two".into()).await?;
    other.publish("bus.t.orders.placed", "three".into()).await?;
    for (expected, colour) in [("one", Some("red")), ("three", None)] {
        let received = timeout(PATIENCE, inbox.next())
            .await?
            .context("it ended")??;
        ensure!(received.event().payload == expected);
        ensure!(received.headers().get("Colour") == colour);
        received.ack().await?;
    }
    let dead = bus.dead_letters("g");
    timeout(PATIENCE, async {
        while dead.count(&bus_api::Filter::default()).await? != 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    })
    .await??;
    Ok(())
}

/// A message as large as the server takes has a dead letter that is larger (R5).
#[tokio::test]
async fn what_is_too_large_with_its_reason_becomes_a_dead_letter_all_the_same() -> Result<()> {
    let (_server, bus, other) = start().await?;
    let mut inbox = bus
        .subscribe::<Raw>("g")
        .pattern("large")
        .start_at(Start::Earliest)
        .await?;
    let most = other.server_info().max_payload;
    let payload: bytes::Bytes = (0..most).map(|place| (place % 251) as u8).collect();
    // Without headers, and with as many as the server takes.
    other.publish("bus.t.large", payload.clone()).await?;
    let mut headers = async_nats::HeaderMap::new();
    for number in 0..60 {
        headers.insert(format!("header-{number}"), "x".repeat(1_000));
    }
    let little = payload.slice(..1_000);
    other
        .publish_with_headers("bus.t.large", headers.clone(), little.clone())
        .await?;
    for _ in 0..2 {
        let received = timeout(PATIENCE, inbox.next())
            .await?
            .context("it ended")??;
        received.dead_letter("r".repeat(5_000)).await?;
    }
    let dead = bus.dead_letters("g");
    let all = bus_api::Filter::default();
    ensure!(dead.count(&all).await? == 2);
    let found = dead.page(&all, None, 10).await?.entries;
    ensure!(found[0].message.payload == payload && found[1].message.payload == little);
    ensure!(found[1].message.headers.len() == 60);
    ensure!(found.iter().all(|entry| entry.error.text.len() >= 4_000));
    let one = dead.get(found[0].id).await?.context("it is gone")?;
    ensure!(one.message.payload == payload);
    ensure!(dead.purge(&all).await?.done == 2);
    ensure!(dead.count(&all).await? == 0);
    // Nothing of them is left anywhere.
    let question = serde_json::json!({"subjects_filter": "bus.m.d.>"}).to_string();
    let told = other.request("$JS.API.STREAM.INFO.bus-m", question.into());
    let told: serde_json::Value = serde_json::from_slice(&told.await?.payload)?;
    ensure!(told["state"]["subjects"].is_null(), "{}", told["state"]);
    Ok(())
}
