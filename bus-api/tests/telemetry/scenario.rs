//! A day in the life of a bus, on which everything happens once that can be told.

use std::sync::Arc;
use std::time::Duration;

use bus_api::{
    Breaker, BusClient, Context, Decide, Error, ErrorKind, Filter, Group, HandlerError, Jitter,
    Pattern, Request, Retry, Settings, SubscriptionId,
};
use bus_derive::Event;
use bus_memory::{Broker, Config, MemoryBus};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "step.taken", topic = "steps.taken")]
struct Step(String);

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "step.other", topic = "steps.other")]
struct Other;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "steps.count", topic = "steps.count")]
struct Count;

impl Request for Count {
    type Reply = u32;
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn step(text: &str) -> Step {
    Step(text.to_owned())
}

async fn handle(step: Step, ctx: Context) -> Result<(), HandlerError> {
    match (step.0.as_str(), ctx.attempt()) {
        ("dead", _) => Err("never").or_dead_letter(),
        ("retry", 1) => Err("again")?,
        ("defer", _) if ctx.delivery() == 1 => Err("later").or_defer(secs(1)),
        ("away", 1) => Err(Error::new(ErrorKind::Unavailable, "away"))?,
        ("long", _) => {
            tokio::time::sleep(secs(60)).await;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Waits until the group has settled everything.
async fn settled(bus: &BusClient, group: &str) {
    let lag = async || {
        let all = bus.subscriptions().list().await.unwrap();
        let own = all.iter().filter(|info| info.id.group.as_str() == group);
        own.map(|info| info.lag).sum::<u64>()
    };
    while lag().await > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Lets it happen. The clock has to be paused.
pub(crate) async fn run() {
    tokio::time::timeout(secs(3_600), day()).await.unwrap();
}

async fn day() {
    let broker = Broker::new();
    let config = Config::from_url("memory://".parse().unwrap(), Settings::default()).unwrap();
    let adapter = Arc::new(MemoryBus::on(broker.clone(), config));
    let bus = BusClient::new(adapter, Settings::default());
    publish(&bus, &broker).await;
    settle(&bus).await;
    spread(&bus).await;
    ask(&bus).await;
    in_batches(&bus).await;
    operate(&bus).await;
    bus.close().await.unwrap();
}

async fn publish(bus: &BusClient, broker: &Broker) {
    for _ in 0..2 {
        bus.publish(&step("twice")).dedup_id("one").await.unwrap();
    }
    bus.publish_batch([&step("a"), &step("b")]).await;
    let large = step(&"x".repeat(bus.capabilities().max_payload + 1));
    bus.publish(&large).await.unwrap_err();
    broker.stop();
    let later = bus.publish(&step("later")).into_future();
    let start = async {
        tokio::time::sleep(secs(1)).await;
        broker.start();
    };
    let (later, ()) = tokio::join!(later, start);
    later.unwrap();
    broker.stop();
    bus.publish(&step("never")).await.unwrap_err();
    broker.start();
}

/// Every outcome of a delivery, by a worker.
async fn settle(bus: &BusClient) {
    let retry = Retry::exponential(secs(1), secs(1))
        .attempts(2)
        .jitter(Jitter::None);
    let worker = bus.worker("walk").pattern("steps.*").on(handle);
    let worker = worker
        .retry(retry)
        .breaker(Breaker::after(1).pause(secs(1)))
        .start_at(bus_api::Start::Earliest);
    let running = worker.start().await.unwrap();
    for text in ["ack", "retry", "dead", "defer", "away"] {
        bus.publish(&step(text)).await.unwrap();
        settled(bus, "walk").await;
    }
    bus.publish(&Other).await.unwrap();
    settled(bus, "walk").await;
    running.pause();
    bus.publish(&step("expired"))
        .expires_in(secs(1))
        .await
        .unwrap();
    tokio::time::sleep(secs(60)).await;
    running.resume();
    settled(bus, "walk").await;
    bus.publish(&step("long")).await.unwrap();
    while bus.in_flight() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.shutdown(secs(1)).await;
}

/// A broadcast that gives up, and a token whose subscription is gone.
async fn spread(bus: &BusClient) {
    let mut all = bus.broadcast::<Step>().retry(Retry::never()).await.unwrap();
    let mut one = bus.subscribe::<Step>("one").await.unwrap();
    bus.publish(&step("dropped")).await.unwrap();
    let received = all.next().await.unwrap().unwrap();
    received.nack().await.unwrap();
    let held = one.next().await.unwrap().unwrap();
    let id = SubscriptionId::new(
        Group::new("one").unwrap(),
        Pattern::new("steps.taken").unwrap(),
    );
    bus.subscriptions().forced().delete(&id).await.unwrap();
    held.ack().await.unwrap_err();
}

async fn ask(bus: &BusClient) {
    let answer = bus.worker("count").respond(async |_: Count| 7);
    let running = answer.start().await.unwrap();
    assert_eq!(bus.request(&Count).await.unwrap(), 7);
    running.shutdown(secs(1)).await;
    bus.request(&Count).await.unwrap_err();
}

async fn in_batches(bus: &BusClient) {
    let worker = bus
        .worker("ledger")
        .on_batch(8, secs(1), async |_: Vec<Step>| {});
    let running = worker.start().await.unwrap();
    bus.publish_batch([&step("a"), &step("b")]).await;
    settled(bus, "ledger").await;
    running.shutdown(secs(1)).await;
}

/// Redrives a dead letter to `walk`, which a second pattern of the group then passes by; purges it.
async fn operate(bus: &BusClient) {
    let dead = bus.dead_letters("walk");
    assert_eq!(dead.redrive(&Filter::default()).await.unwrap().done, 1);
    let mut beside = bus
        .subscribe::<Step>("beside")
        .start_at(bus_api::Start::Earliest)
        .await
        .unwrap();
    let retry = Retry::exponential(secs(1), secs(1)).attempts(1);
    let worker = bus
        .worker("walk")
        .pattern("steps.*")
        .on(handle)
        .retry(retry);
    let running = worker.start().await.unwrap();
    while dead.count(&Filter::default()).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.shutdown(secs(1)).await;
    let unseen = tokio::time::timeout(secs(5), async {
        while let Some(received) = beside.next().await {
            received.unwrap().ack().await.unwrap();
        }
    });
    unseen.await.unwrap_err();
    beside.close().await.unwrap();
    assert_eq!(dead.purge(&Filter::default()).await.unwrap().done, 1);
}
