//! Receiving and settling.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bus::{BusClient, Event, Raw, Start, Subscription, Topic};
use tokio::sync::Notify;

use super::{message, publish};
use crate::load::{Load, Text};
use crate::side::Sample;
use crate::tally::Tally;

/// An event that says which message of a load it is.
pub(super) trait Numbered: Event {
    fn count(&self, tally: &mut Tally);
}

impl Numbered for Raw {
    fn count(&self, tally: &mut Tally) {
        tally.take(&self.payload);
    }
}

impl Numbered for Text {
    fn count(&self, tally: &mut Tally) {
        tally.note(Some(self.number));
    }
}

/// What a handler counts into.
#[derive(Debug)]
struct Count {
    tally: Mutex<Tally>,
    complete: Notify,
}

impl Count {
    fn take(&self, payload: &[u8]) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.take(payload);
        if tally.is_complete() {
            self.complete.notify_one();
        }
    }
}

/// A backlog, consumed by a worker; by default as it comes, tuned with more in flight.
pub(super) async fn backlog(bus: &BusClient, load: &Load, tuned: bool) -> Result<Sample> {
    publish::fill(bus, load, 1).await?;
    let count = Arc::new(Count {
        tally: Mutex::new(Tally::new(load.messages)),
        complete: Notify::new(),
    });
    let handled = Arc::clone(&count);
    let mut worker = bus
        .worker("bench")
        .pattern(&load.root)
        .start_at(Start::Earliest)
        .on(move |raw: Raw| {
            handled.take(&raw.payload);
            std::future::ready(())
        });
    if tuned {
        worker = worker.concurrency(1_024).max_in_flight(4_096);
    }
    let running = worker.start().await?;
    count.complete.notified().await;
    // Until every ack is confirmed.
    running.idle().await;
    let tally = || count.tally.lock().unwrap_or_else(PoisonError::into_inner);
    let took = tally().since_first();
    let report = running.shutdown(Duration::from_secs(20)).await;
    ensure!(report.unsettled == 0, "acks were not confirmed");
    Ok(Sample::received(took, [&*tally()]))
}

/// A stream of `pattern` that starts with what is there.
pub(super) async fn join(bus: &BusClient, group: &str, pattern: &str) -> Result<Subscription<Raw>> {
    let subscription = bus.subscribe::<Raw>(group).pattern(pattern);
    Ok(subscription.start_at(Start::Earliest).await?)
}

/// Receives and settles up to `most`.
pub(super) async fn settle_some<E: Numbered>(
    subscription: &mut Subscription<E>,
    most: usize,
    tally: &mut Tally,
) -> Result<usize> {
    let received = subscription.next_batch(most).await.context("it ended")??;
    let count = received.len();
    for one in &received {
        one.event().count(tally);
    }
    // Settling has begun for all; each is awaited, in any order.
    let acks: Vec<_> = received.into_iter().map(bus::Received::ack).collect();
    for ack in acks {
        ack.await?;
    }
    Ok(count)
}

/// Publishes `batch` payloads, receives and settles them, again and again.
pub(super) async fn rounds(bus: &BusClient, load: &Load, batch: usize) -> Result<Sample> {
    let topic = Topic::new(&load.root)?;
    let subscription = join(bus, "bench", &load.root).await?;
    let make = |number| message(&topic, load, number);
    rounds_of(bus, load, batch, subscription, make).await
}

/// The same with a typed event, by the default codec.
pub(super) async fn typed(bus: &BusClient, load: &Load, batch: usize) -> Result<Sample> {
    let subscription = bus
        .subscribe::<Text>("bench")
        .start_at(Start::Earliest)
        .await?;
    rounds_of(bus, load, batch, subscription, |number| load.text(number)).await
}

async fn rounds_of<E: Numbered>(
    bus: &BusClient,
    load: &Load,
    batch: usize,
    mut subscription: Subscription<E>,
    make: impl Fn(usize) -> E,
) -> Result<Sample> {
    let mut tally = Tally::new(load.messages);
    let begun = Instant::now();
    for numbers in load.batches(batch) {
        if batch == 1 {
            bus.publish(&make(numbers.start)).await?;
            let received = subscription.next().await.context("it ended")??;
            received.event().count(&mut tally);
            received.ack().await?;
            continue;
        }
        let mut left = numbers.len();
        let messages: Vec<_> = numbers.map(&make).collect();
        for result in bus.publish_batch(&messages).await {
            result?;
        }
        while left > 0 {
            let taken = settle_some(&mut subscription, batch, &mut tally).await?;
            left = left.saturating_sub(taken);
        }
    }
    let took = begun.elapsed();
    subscription.close().await?;
    Ok(Sample::received(took, [&tally]))
}
