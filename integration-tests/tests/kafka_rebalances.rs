//! Kafka: members that join and leave in order, under load (S3, S6). `BUS_REBALANCES` says how many times; a join and a
//! leave are two.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bus_api::{BusClient, Raw, Start, Subscription};
use integration_tests::kafka::server::{Server, connect};
use integration_tests::trip::message;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

const TOPIC: &str = "load.a";
/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// How many a member has to handle before it leaves.
const SHARE: u64 = 50;

/// How often each number was handled.
#[derive(Clone, Default)]
struct Books(Arc<Mutex<BTreeMap<u64, u32>>>);

impl Books {
    fn note(&self, number: u64) {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *books.entry(number).or_default() += 1;
    }

    fn handled(&self) -> u64 {
        let books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.len() as u64
    }

    fn more_than_once(&self) -> Vec<u64> {
        let books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let twice = books.iter().filter(|(_, times)| **times > 1);
        twice.map(|(number, _)| *number).collect()
    }
}

/// A member that acks everything until it is told to leave.
struct Member {
    bus: BusClient,
    stop: watch::Sender<bool>,
    own: watch::Receiver<u64>,
    task: JoinHandle<Result<()>>,
}

impl Member {
    async fn join(url: &str, books: &Books) -> Result<Self> {
        let (_, open) = watch::channel(true);
        Self::join_behind(url, books, open).await
    }

    /// It settles nothing before the gate is open.
    async fn join_behind(url: &str, books: &Books, gate: watch::Receiver<bool>) -> Result<Self> {
        let bus = connect(url).await?;
        let inbox = bus
            .subscribe::<Raw>("crew")
            .pattern("load.>")
            .start_at(Start::Earliest)
            .await?;
        let (stop, stopped) = watch::channel(false);
        let (count, own) = watch::channel(0);
        let task = tokio::spawn(work(inbox, books.clone(), gate, stopped, count));
        Ok(Self {
            bus,
            stop,
            own,
            task,
        })
    }

    async fn leave(self) -> Result<()> {
        self.stop.send_replace(true);
        self.task.await??;
        self.bus.close().await?;
        Ok(())
    }
}

async fn work(
    mut inbox: Subscription<Raw>,
    books: Books,
    gate: watch::Receiver<bool>,
    mut stopped: watch::Receiver<bool>,
    count: watch::Sender<u64>,
) -> Result<()> {
    let mut settling = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            next = inbox.next() => {
                let received = next.context("it ended")??;
                let number = std::str::from_utf8(&received.event().payload)?.parse()?;
                books.note(number);
                let mut gate = gate.clone();
                settling.spawn(async move {
                    // One that was opened for good has no keeper.
                    let _ = gate.wait_for(|open| *open).await;
                    received.ack().await
                });
                count.send_modify(|count| *count += 1);
            }
        }
    }
    while let Some(confirmed) = settling.join_next().await {
        confirmed??;
    }
    inbox.close().await?;
    Ok(())
}

/// Publishes numbers until it is told to stop; returns how many.
async fn publish(bus: BusClient, stopped: watch::Receiver<bool>) -> Result<u64> {
    let mut next = 0;
    while !*stopped.borrow() {
        let batch = (next..next + 20).map(|number: u64| message(TOPIC, &number.to_string()));
        let batch = batch.collect::<Result<Vec<_>>>()?;
        for stored in bus.publish_batch(&batch).await {
            stored?;
        }
        next += 20;
        tokio::time::sleep(POLL).await;
    }
    Ok(next)
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_come_and_go_lose_and_double_nothing() -> Result<()> {
    let rebalances: u32 = match std::env::var("BUS_REBALANCES") {
        Ok(text) => text.parse().context("BUS_REBALANCES")?,
        Err(_) => 10,
    };
    let server = Server::start(&[], [], &[]).await?;
    let url = format!("kafka://{}?partitions=6", server.address());
    let books = Books::default();
    let steady = Member::join(&url, &books).await?;
    let (stop, stopped) = watch::channel(false);
    let publishing = tokio::spawn(publish(connect(&url).await?, stopped));
    for round in 0..rebalances.div_ceil(2) {
        let mut member = Member::join(&url, &books).await?;
        let has_its_share = member.own.wait_for(|own| *own >= SHARE);
        tokio::time::timeout(PATIENCE, has_its_share)
            .await
            .with_context(|| format!("round {round}: the new member gets nothing"))??;
        member.leave().await?;
    }
    stop.send_replace(true);
    let published = publishing.await??;
    all_handled(&books, published).await?;
    steady.leave().await
}

/// Waits until everything was handled, and that once.
async fn all_handled(books: &Books, published: u64) -> Result<()> {
    let begun = Instant::now();
    while books.handled() < published {
        ensure!(
            begun.elapsed() < PATIENCE,
            "{} of {published} were handled",
            books.handled()
        );
        tokio::time::sleep(POLL).await;
    }
    let twice = books.more_than_once();
    ensure!(twice.is_empty(), "handled more than once: {twice:?}");
    Ok(())
}

/// What a full member holds back of a partition that goes away is nobody's: it is read again by who gets it, also when it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_went_away_held_back_is_read_when_it_is_back() -> Result<()> {
    /// More than a member fetches ahead.
    const BACKLOG: u64 = 8_000;
    let server = Server::start(&[], [], &[]).await?;
    let url = format!("kafka://{}?partitions=6", server.address());
    let books = Books::default();
    let (gate, closed) = watch::channel(false);
    let steady = Member::join_behind(&url, &books, closed).await?;
    let bus = connect(&url).await?;
    for first in (0..BACKLOG).step_by(500) {
        let batch = (first..first + 500).map(|number| message(TOPIC, &number.to_string()));
        let batch = batch.collect::<Result<Vec<_>>>()?;
        for stored in bus.publish_batch(&batch).await {
            stored?;
        }
    }
    let mut guest = Member::join(&url, &books).await?;
    gate.send_replace(true);
    let has_its_share = guest.own.wait_for(|own| *own >= SHARE);
    tokio::time::timeout(PATIENCE, has_its_share)
        .await
        .context("the guest gets nothing")??;
    guest.leave().await?;
    all_handled(&books, BACKLOG).await?;
    steady.leave().await
}
