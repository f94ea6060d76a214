//! Receiving and settling.

use std::time::Instant;

use anyhow::{Context, Result};
use bus::{BusClient, Raw, Start, Subscription};
use futures_util::future::try_join_all;

use super::message;
use crate::side::{Load, Sample};
use crate::work::{BATCH, GROUPS, TOPICS};

async fn join(bus: &BusClient, group: &str, pattern: &str) -> Result<Subscription<Raw>> {
    let subscription = bus.subscribe::<Raw>(group).pattern(pattern);
    Ok(subscription.start_at(Start::Earliest).await?)
}

/// Receives and settles at most one batch; how many there were.
async fn batch(subscription: &mut Subscription<Raw>) -> Result<u64> {
    let received = subscription.next_batch(BATCH).await.context("it ended")??;
    let count = received.len() as u64;
    try_join_all(received.into_iter().map(bus::Received::ack)).await?;
    Ok(count)
}

async fn take(subscription: &mut Subscription<Raw>, messages: usize) -> Result<u64> {
    let mut taken = 0;
    while taken < messages as u64 {
        taken += batch(subscription).await?;
    }
    Ok(taken)
}

/// A backlog in `load`, consumed by a worker as it comes by default.
pub(super) async fn backlog(bus: &BusClient, root: &str, load: &Load) -> Result<Sample> {
    let message = message(root, load)?;
    let publisher = bus.publisher();
    for _ in 0..load.messages {
        drop(publisher.send(&message).await?);
    }
    publisher.flush().await?;
    let (told, mut handled) = tokio::sync::watch::channel(0_u64);
    let begun = Instant::now();
    let worker = bus
        .worker("bench")
        .pattern(root)
        .start_at(Start::Earliest)
        .on(move |_: Raw| {
            told.send_modify(|count| *count += 1);
            std::future::ready(())
        });
    let running = worker.start().await?;
    handled
        .wait_for(|count| *count >= load.messages as u64)
        .await?;
    let report = running.shutdown(std::time::Duration::from_secs(20)).await;
    let took = begun.elapsed();
    Ok(Sample {
        took,
        received: report.handled,
        expected: load.messages as u64,
    })
}

pub(super) async fn one_by_one(bus: &BusClient, root: &str, load: &Load) -> Result<Sample> {
    let message = message(root, load)?;
    let mut subscription = join(bus, "bench", root).await?;
    let begun = Instant::now();
    for _ in 0..load.messages {
        bus.publish(&message).await?;
        let received = subscription.next().await.context("it ended")??;
        received.ack().await?;
    }
    let took = begun.elapsed();
    subscription.close().await?;
    Ok(Sample {
        took,
        received: load.messages as u64,
        expected: load.messages as u64,
    })
}

pub(super) async fn batches(bus: &BusClient, root: &str, load: &Load) -> Result<Sample> {
    spread(bus, &[root.to_owned()], root, 1, load).await
}

pub(super) async fn fan_out(bus: &BusClient, root: &str, load: &Load) -> Result<Sample> {
    spread(bus, &[root.to_owned()], root, GROUPS, load).await
}

pub(super) async fn wildcard(bus: &BusClient, root: &str, load: &Load) -> Result<Sample> {
    let topics: Vec<_> = (0..TOPICS)
        .map(|topic| format!("{root}.{topic}.done"))
        .collect();
    spread(bus, &topics, &format!("{root}.*.done"), 1, load).await
}

/// Publishes to `topics` in turn and receives everything in each of the groups, a batch at a time.
async fn spread(
    bus: &BusClient,
    topics: &[String],
    pattern: &str,
    groups: usize,
    load: &Load,
) -> Result<Sample> {
    let messages: Result<Vec<_>> = topics.iter().map(|topic| message(topic, load)).collect();
    let messages = messages?;
    let mut subscriptions = Vec::new();
    for group in 0..groups {
        subscriptions.push(join(bus, &format!("bench{group}"), pattern).await?);
    }
    let mut received = 0;
    let begun = Instant::now();
    for _ in 0..load.messages / BATCH {
        for result in bus.publish_batch(messages.iter().cycle().take(BATCH)).await {
            result?;
        }
        for subscription in &mut subscriptions {
            received += take(subscription, BATCH).await?;
        }
    }
    let took = begun.elapsed();
    for subscription in subscriptions {
        subscription.close().await?;
    }
    Ok(Sample {
        took,
        received,
        expected: (load.messages / BATCH * BATCH * groups) as u64,
    })
}
