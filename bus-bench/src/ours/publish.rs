//! Publishing.

use std::time::Instant;

use anyhow::Result;
use bus::{BusClient, Topic};

use super::message;
use crate::load::Load;
use crate::side::{Calls, Sample};
use crate::work::BATCH;

pub(super) async fn awaited(bus: &BusClient, load: &Load) -> Result<Sample> {
    let topic = Topic::new(&load.root)?;
    let mut calls = Calls::begin(load.messages);
    for number in 0..load.messages {
        bus.publish(&message(&topic, load, number)).await?;
        calls.tick();
    }
    Ok(calls.sample())
}

pub(super) async fn many_in_flight(bus: &BusClient, load: &Load) -> Result<Sample> {
    let begun = Instant::now();
    fill(bus, load, 1).await?;
    Ok(Sample::sent(begun.elapsed()))
}

/// Publishes everything in order to `topics` topics in turn, and waits until it is confirmed.
pub(super) async fn fill(bus: &BusClient, load: &Load, topics: usize) -> Result<()> {
    let topics = topics_of(load, topics)?;
    let publisher = bus.publisher();
    for (number, topic) in (0..load.messages).zip(topics.iter().cycle()) {
        // A failure that is not looked at here is what `flush` returns.
        drop(publisher.send(&message(topic, load, number)).await?);
    }
    Ok(publisher.flush().await?)
}

/// The topic of a load, or this many below it.
fn topics_of(load: &Load, topics: usize) -> Result<Vec<Topic>> {
    let names: Vec<String> = if topics == 1 {
        vec![load.root.clone()]
    } else {
        (0..topics)
            .map(|topic| format!("{}.{topic}.done", load.root))
            .collect()
    };
    Ok(names.iter().map(Topic::new).collect::<bus::Result<_>>()?)
}

pub(super) async fn batches(bus: &BusClient, load: &Load) -> Result<Sample> {
    let topic = Topic::new(&load.root)?;
    let begun = Instant::now();
    for batch in load.batches(BATCH) {
        let batch: Vec<_> = batch.map(|number| message(&topic, load, number)).collect();
        for result in bus.publish_batch(&batch).await {
            result?;
        }
    }
    Ok(Sample::sent(begun.elapsed()))
}
