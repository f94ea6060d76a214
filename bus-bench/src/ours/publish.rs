//! Publishing.

use std::time::Instant;

use anyhow::Result;
use bus::BusClient;

use super::message;
use crate::side::{Load, Sample};
use crate::work::BATCH;

pub(super) async fn awaited(bus: &BusClient, root: &str, load: &Load) -> Result<Sample> {
    let message = message(root, load)?;
    let begun = Instant::now();
    for _ in 0..load.messages {
        bus.publish(&message).await?;
    }
    Ok(Sample::sent(begun.elapsed()))
}

pub(super) async fn many_in_flight(bus: &BusClient, root: &str, load: &Load) -> Result<Sample> {
    let message = message(root, load)?;
    let publisher = bus.publisher();
    let begun = Instant::now();
    for _ in 0..load.messages {
        drop(publisher.send(&message).await?);
    }
    publisher.flush().await?;
    Ok(Sample::sent(begun.elapsed()))
}

pub(super) async fn batches(bus: &BusClient, root: &str, load: &Load) -> Result<Sample> {
    let message = message(root, load)?;
    let begun = Instant::now();
    for _ in 0..load.messages / BATCH {
        for result in bus
            .publish_batch(std::iter::repeat_n(&message, BATCH))
            .await
        {
            result?;
        }
    }
    Ok(Sample::sent(begun.elapsed()))
}
