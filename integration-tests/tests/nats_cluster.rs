//! NATS: three servers, of which any may have what another one is asked for.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bus_api::{Filter, Raw};
use futures_util::future::try_join_all;
use integration_tests::brokers::{Cluster, Kind, Setup};
use integration_tests::nats::server::{connect, message};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(120);
const ENTRIES: u64 = 100;
/// How often all are listed.
const ROUNDS: usize = 10;
const PAGE: usize = 10;

/// A page is read by a consumer that may be at another server, which this one has not heard of yet.
#[tokio::test]
async fn every_list_of_dead_letters_is_complete() -> Result<()> {
    timeout(LIMIT, list()).await?
}

async fn list() -> Result<()> {
    let cluster = Cluster::start(Kind::Nats, 3, &Setup::default()).await?;
    let url = format!("{}?namespace=pages&replicas=3", cluster.url());
    let bus = connect(&url).await?;
    let mut inbox = bus.subscribe::<Raw>("g").pattern("d").await?;
    for _ in 0..ENTRIES {
        bus.publish(&message("d", "of no use")?).await?;
    }
    let mut burying = Vec::new();
    for _ in 0..ENTRIES {
        let received = inbox.next().await.context("it ended")??;
        burying.push(received.dead_letter("of no use"));
    }
    try_join_all(burying).await?;
    let dead = bus.dead_letters("g");
    for round in 0..ROUNDS {
        let count = dead.count(&Filter::default()).await?;
        ensure!(count == ENTRIES, "round {round}: {count} were counted");
        let (mut seen, mut cursor) = (0, None);
        loop {
            let page = dead.page(&Filter::default(), cursor.as_ref(), PAGE).await?;
            seen += page.entries.len() as u64;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        ensure!(seen == ENTRIES, "round {round}: {seen} were listed");
    }
    bus.close().await?;
    Ok(())
}
