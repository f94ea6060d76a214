//! Redis: what `redis-cli` writes is delivered, and what the bus writes can be read with it (P5, P6).

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use bus_api::{MessageId, Raw, Start, Topic};
use integration_tests::redis::server::{PATIENCE, Server, message};
use redis::streams::StreamRangeReply;
use tokio::time::timeout;

#[tokio::test]
async fn what_the_bus_writes_can_be_read_with_any_client() -> Result<()> {
    let server = Server::start([]).await?;
    let bus = server.client("").await?;
    bus.publish(&message("orders.placed", "seven")?.with_key("k"))
        .id(MessageId::new("id-7"))
        .header("tenant", "a")
        .await?;
    let answer = server
        .run(&["XRANGE", "bus:{orders}:s:orders.placed", "-", "+"])
        .await?;
    let found: StreamRangeReply = redis::from_redis_value(answer)?;
    let entry = found.ids.first().context("nothing is there")?;
    let mut fields = BTreeMap::new();
    for (name, value) in &entry.map {
        let value: String = redis::from_redis_value(value.clone())?;
        fields.insert(name.as_str(), value);
    }
    for (name, value) in [
        ("ce_specversion", "1.0"),
        ("ce_id", "id-7"),
        ("ce_type", "test.text"),
        ("content-type", "text/plain"),
        ("bus-key", "k"),
        ("tenant", "a"),
        ("data", "seven"),
    ] {
        let found = fields.get(name).map(String::as_str);
        ensure!(found == Some(value), "{name} is {found:?} in {fields:?}");
    }
    for name in ["ce_source", "ce_time"] {
        ensure!(fields.contains_key(name), "{name} is missing in {fields:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_others_write_is_delivered() -> Result<()> {
    const STREAM: &str = "bus:{orders}:s:orders.placed";
    let server = Server::start([]).await?;
    let bus = server.client("").await?;
    server
        .run(&["XADD", STREAM, "*", "data", "one", "colour", "red"])
        .await?;
    // An exact subscription finds the stream by itself.
    let mut exact = bus
        .subscribe::<Raw>("exact")
        .pattern("orders.placed")
        .start_at(Start::Earliest)
        .await?;
    let next = async |inbox: &mut bus_api::Subscription<Raw>| {
        let received = timeout(PATIENCE, inbox.next()).await?;
        received.context("it ended")?.map_err(anyhow::Error::from)
    };
    let first = next(&mut exact).await?;
    ensure!(first.event().payload == "one");
    ensure!(first.headers().get("colour") == Some("red"));
    first.ack().await?;
    // A pattern finds it once it is registered.
    bus.add_topic(&Topic::new("orders.placed")?).await?;
    let mut pattern = bus
        .subscribe::<Raw>("pattern")
        .pattern("orders.>")
        .start_at(Start::Earliest)
        .await?;
    next(&mut pattern).await?.ack().await?;
    // The only field is the payload; several are a JSON object.
    server
        .run(&["XADD", STREAM, "*", "anything", "two"])
        .await?;
    server
        .run(&["XADD", STREAM, "*", "a", "1", "b", "2"])
        .await?;
    for inbox in [&mut exact, &mut pattern] {
        let only = next(inbox).await?;
        ensure!(only.event().payload == "two");
        only.ack().await?;
        let several = next(inbox).await?;
        let object = std::str::from_utf8(&several.event().payload)?;
        ensure!(object == r#"{"a":"1","b":"2"}"#, "{object}");
        several.ack().await?;
    }
    Ok(())
}
