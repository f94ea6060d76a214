//! Dead letters.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bus::{BusClient, DeadLetters, Filter, HandlerError, Raw, Start};

use super::publish;
use crate::load::Load;
use crate::side::Sample;
use crate::tally::Tally;
use crate::work::BATCH;

/// Every message of `load` as a dead letter of a group of its own.
async fn fill(bus: &BusClient, load: &Load) -> Result<DeadLetters> {
    publish::fill(bus, load, 1).await?;
    let running = bus
        .worker(&load.root)
        .pattern(&load.root)
        .start_at(Start::Earliest)
        .on(|_: Raw| {
            let refused = HandlerError::new("this is a benchmark").dead_letter();
            std::future::ready(Err::<(), _>(refused))
        })
        .start()
        .await?;
    running.idle().await;
    let report = running.shutdown(Duration::from_secs(20)).await;
    ensure!(
        report.dead_lettered == load.messages as u64,
        "{} of {} messages were dead-lettered",
        report.dead_lettered,
        load.messages
    );
    Ok(bus.dead_letters(&load.root))
}

pub(super) async fn pages(bus: &BusClient, load: &Load) -> Result<Sample> {
    let letters = fill(bus, load).await?;
    let filter = Filter::default();
    let mut tally = Tally::new(load.messages);
    let mut cursor = None;
    let begun = Instant::now();
    loop {
        let page = letters.page(&filter, cursor.as_ref(), BATCH).await?;
        for entry in &page.entries {
            tally.take(&entry.message.payload);
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let took = begun.elapsed();
    let purged = letters.purge(&filter).await?;
    ensure!(purged.failed.is_empty(), "dead letters stay");
    Ok(Sample::received(took, [&tally]))
}

pub(super) async fn redrive(bus: &BusClient, load: &Load) -> Result<Sample> {
    let letters = fill(bus, load).await?;
    let begun = Instant::now();
    let report = letters.redrive(&Filter::default()).await?;
    let took = begun.elapsed();
    Ok(Sample::done(took, report.done, load.messages as u64))
}
