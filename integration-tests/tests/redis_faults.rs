//! Redis: what a server does to its clients, under load (L3, L4, K2).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bus_api::{BusClient, ErrorKind, Raw, Start};
use integration_tests::redis::server::{PATIENCE, Server, connect, message};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Publishes numbers, many at a time, and handles them, until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    publishing: JoinHandle<Result<BTreeSet<u64>>>,
    bus: BusClient,
    handled: BTreeSet<u64>,
    inbox: bus_api::Subscription<Raw>,
}

impl Load {
    async fn start(bus: &BusClient) -> Result<Self> {
        let inbox = bus
            .subscribe::<Raw>("load")
            .pattern("load.>")
            .start_at(Start::Earliest)
            .lease(Duration::from_secs(2))
            .await?;
        let stop = Arc::new(AtomicBool::new(false));
        let publishing = tokio::spawn(publish(bus.clone(), Arc::clone(&stop)));
        Ok(Self {
            stop,
            publishing,
            bus: bus.clone(),
            handled: BTreeSet::new(),
            inbox,
        })
    }

    /// Handles until `count` more numbers were new.
    async fn handle(&mut self, count: usize) -> Result<()> {
        let goal = self.handled.len() + count;
        let handling = async {
            while self.handled.len() < goal {
                let received = self.inbox.next().await.context("it ended")??;
                let text = std::str::from_utf8(&received.event().payload)?;
                self.handled.insert(text.parse()?);
                // One that is not confirmed comes again.
                let _ = received.ack().await;
            }
            Ok(())
        };
        let waited = timeout(PATIENCE, handling).await;
        waited.with_context(|| format!("{} of {goal} were handled", self.handled.len()))?
    }

    /// Stops publishing and checks that every confirmed number is handled.
    async fn finish(mut self) -> Result<BTreeSet<u64>> {
        self.stop.store(true, Ordering::Relaxed);
        let confirmed = timeout(2 * PATIENCE, &mut self.publishing).await???;
        let missing = confirmed.difference(&self.handled).count();
        while !confirmed.is_subset(&self.handled) {
            self.handle(1)
                .await
                .with_context(|| format!("{missing} were missing"))?;
        }
        self.inbox.close().await?;
        self.bus.close().await?;
        Ok(confirmed)
    }
}

async fn publish(bus: BusClient, stop: Arc<AtomicBool>) -> Result<BTreeSet<u64>> {
    let publisher = bus.publisher();
    let mut sent = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..20 {
            let topic = format!("load.{}", number % 5);
            let event = message(&topic, &number.to_string())?;
            sent.push((number, publisher.send(&event).await?));
            number += 1;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut confirmed = BTreeSet::new();
    for (number, confirmation) in sent {
        // One that may be stored or not is none of those that must be handled.
        if confirmation.await.is_ok() {
            confirmed.insert(number);
        }
    }
    Ok(confirmed)
}

#[tokio::test]
async fn killed_connections_are_made_again() -> Result<()> {
    let server = Server::start([]).await?;
    let mut load = Load::start(&server.client("").await?).await?;
    for _ in 0..10 {
        load.handle(100).await?;
        server.run(&["CLIENT", "KILL", "TYPE", "normal"]).await?;
        server.run(&["CLIENT", "KILL", "TYPE", "pubsub"]).await?;
    }
    load.handle(100).await?;
    let confirmed = load.finish().await?;
    ensure!(confirmed.len() > 500, "{} were confirmed", confirmed.len());
    Ok(())
}

#[tokio::test]
async fn a_flushed_server_is_built_up_again() -> Result<()> {
    let server = Server::start([]).await?;
    let bus = server.client("").await?;
    let mut load = Load::start(&bus).await?;
    let mut known = 0;
    for _ in 0..3 {
        load.handle(100).await?;
        server.run(&["FLUSHALL"]).await?;
        // Numbers that only now are published.
        load.handle(200).await?;
        let notices = bus.health().await.notices;
        ensure!(notices.len() > known, "{notices:?}");
        known = notices.len();
    }
    load.stop.store(true, Ordering::Relaxed);
    // What is published after the last loss is handled to the last number.
    let mut rest = bus
        .subscribe::<Raw>("rest")
        .pattern("rest")
        .start_at(Start::Earliest)
        .await?;
    server.run(&["FLUSHALL"]).await?;
    bus.publish(&message("rest", "after")?).await?;
    timeout(PATIENCE, rest.next())
        .await?
        .context("it ended")??
        .ack()
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_server_without_memory_throttles_and_lets_settle() -> Result<()> {
    let server = Server::start([]).await?;
    let bus = server.client("?publish_timeout=500ms").await?;
    let mut inbox = bus
        .subscribe::<Raw>("g")
        .pattern("m")
        .lease(Duration::from_millis(500))
        .max_in_flight(10)
        .await?;
    for number in 0..11 {
        bus.publish(&message("m", &number.to_string())?).await?;
    }
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(
            timeout(PATIENCE, inbox.next())
                .await?
                .context("it ended")??,
        );
    }
    server.run(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    let outcome = bus.publish(&message("m", "too much")?).await;
    let error = outcome.err().context("it was stored")?;
    ensure!(error.kind() == ErrorKind::Throttled, "{error}");
    ensure!(error.is_retryable() && !error.is_indeterminate(), "{error}");
    // The leases last, and everything can be settled: that is what frees memory.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let again = held.pop().context("nothing is held")?;
    for received in held {
        received.ack().await?;
    }
    // And what waits can be read.
    let received = timeout(PATIENCE, inbox.next())
        .await?
        .context("it ended")??;
    ensure!(received.event().payload == "10");
    received.ack().await?;
    again.nack().await?;
    let received = timeout(PATIENCE, inbox.next())
        .await?
        .context("it ended")??;
    ensure!(received.attempt() == 2);
    received.dead_letter("of no use").await?;
    server.run(&["CONFIG", "SET", "maxmemory", "0"]).await?;
    bus.publish(&message("m", "fits")?).await?;
    let received = timeout(PATIENCE, inbox.next())
        .await?
        .context("it ended")??;
    ensure!(received.event().payload == "fits" && received.attempt() == 1);
    received.ack().await?;
    Ok(())
}

#[tokio::test]
async fn what_is_read_after_the_lease_has_ended_is_read_again() -> Result<()> {
    let server = Server::start([]).await?;
    let bus = server.client("").await?;
    let mut inbox = bus.subscribe::<Raw>("g").pattern("m").await?;
    bus.publish(&message("m", "0")?).await?;
    let first = timeout(PATIENCE, inbox.next())
        .await?
        .context("it ended")??;
    first.ack().await?;
    let keys = server.run(&["KEYS", "bus:{m}:m:*"]).await?;
    let members: Vec<String> = redis::from_redis_value(keys)?;
    let group = members
        .first()
        .and_then(|key| key.rsplit(':').next())
        .context("there is no member")?;
    for number in 1..=20 {
        // As if others had counted it as dead a moment ago.
        server.run(&["DEL", &members[0]]).await?;
        bus.publish(&message("m", &number.to_string())?).await?;
        let received = timeout(PATIENCE, inbox.next())
            .await?
            .context("it ended")??;
        ensure!(received.event().payload == number.to_string());
        ensure!(received.attempt() == 1);
        received.ack().await?;
    }
    let pending = server.run(&["XPENDING", "bus:{m}:s:m", group]).await?;
    let (pending, ..): (u64, Option<String>, Option<String>, Option<redis::Value>) =
        redis::from_redis_value(pending)?;
    ensure!(pending == 0, "{pending} are held by nobody");
    Ok(())
}

#[tokio::test]
async fn a_read_only_replica_is_waited_for() -> Result<()> {
    let server = Server::start([]).await?;
    let bus = server.client("?publish_timeout=3s").await?;
    let mut load = Load::start(&server.client("").await?).await?;
    load.handle(100).await?;
    server.run(&["REPLICAOF", "127.0.0.1", "1"]).await?;
    let outcome = bus.publish(&message("m", "x")?).await;
    let error = outcome.err().context("it was stored")?;
    ensure!(error.kind() == ErrorKind::Unavailable, "{error}");
    ensure!(error.is_retryable() && !error.is_indeterminate(), "{error}");
    server.run(&["REPLICAOF", "NO", "ONE"]).await?;
    bus.publish(&message("m", "x")?).await?;
    load.handle(100).await?;
    load.finish().await?;
    Ok(())
}

#[tokio::test]
async fn sentinels_lead_to_the_new_primary() -> Result<()> {
    let mut primary = Server::start([]).await?;
    let replica = Server::start([format!("replicaof 127.0.0.1 {}", primary.port()?)]).await?;
    let sentinel = Server::sentinel([
        format!("sentinel monitor mine 127.0.0.1 {} 1", primary.port()?),
        "sentinel down-after-milliseconds mine 500".to_owned(),
        "sentinel failover-timeout mine 5000".to_owned(),
    ])
    .await?;
    let url = format!("redis+sentinel://127.0.0.1:1,{}/mine", sentinel.address());
    let bus = connect(&url).await?;
    let mut load = Load::start(&bus).await?;
    load.handle(100).await?;
    timeout(PATIENCE, async {
        // The sentinel learns of replicas from the primary, every ten seconds.
        while !format!(
            "{:?}",
            sentinel.run(&["SENTINEL", "REPLICAS", "mine"]).await?
        )
        .contains(&replica.port()?.to_string())
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, anyhow::Error>(())
    })
    .await??;
    primary.broker.kill().await?;
    // Replication is asynchronous, so that the last ones confirmed by the old primary may be gone: what
    // counts is that everything goes on by itself.
    load.handle(300).await?;
    bus.publish(&message("load.last", "1000000")?).await?;
    while !load.handled.contains(&1_000_000) {
        load.handle(1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_key_of_another_type_stops_no_other_topic() -> Result<()> {
    let server = Server::start([]).await?;
    let bus = server.client("").await?;
    let mut heard = bus.broadcast::<Raw>().pattern("w.*").await?;
    let mut inbox = bus.subscribe::<Raw>("g").pattern("w.*").await?;
    server.run(&["SET", "bus:{w}:s:w.bad", "no stream"]).await?;
    bus.add_topic(&bus_api::Topic::new("w.bad")?).await?;
    let outcome = bus.publish(&message("w.bad", "x")?).await;
    let error = outcome.err().context("it was stored")?;
    ensure!(error.kind() == ErrorKind::Internal && !error.is_indeterminate());
    bus.publish(&message("w.good", "x")?).await?;
    for inbox in [&mut heard, &mut inbox] {
        let received = timeout(PATIENCE, inbox.next()).await?;
        received.context("it ended")??.ack().await?;
    }
    Ok(())
}
