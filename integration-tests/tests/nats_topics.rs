//! NATS: what a message costs with many topics, many subscriptions and a long backlog.
//!
//! `BUS_TEST_SCALE=full` takes 10,000 topics, 1,000 subscriptions and a backlog of a million; the figures are
//! shown with `--nocapture`.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bus_api::{BusClient, Raw, Received, Start, Subscription};
use futures_util::future::try_join_all;
use integration_tests::brokers::{Broker, resident};
use integration_tests::nats::server::{connect, message, start};
use tokio::task::JoinSet;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(1_800);
/// Topics of each subscription.
const TOPICS: u64 = 10;
/// How much longer the long backlog is.
const LONGER: u64 = 10;
/// How much more a message of the long backlog may cost; a machine that is busy with other things adds to it.
const FACTOR: f64 = 2.5;
/// How much more memory members may take at the long backlog.
const MORE: u64 = 64 << 20;
/// What is too little to tell growth.
const GRAIN: u64 = 8 << 20;
/// Few, because a server that looks for the messages of a thousand patterns answers acks late: what all members
/// hold has to be settled within a lease.
const IN_FLIGHT: usize = 16;

struct Size {
    subscriptions: u64,
    backlog: u64,
}

impl Size {
    fn of_environment() -> Self {
        match std::env::var("BUS_TEST_SCALE").as_deref() {
            Ok("full") => Self {
                subscriptions: 1_000,
                backlog: 1_000_000,
            },
            _ => Self {
                subscriptions: 50,
                backlog: 20_000,
            },
        }
    }
}

/// What was measured.
struct Figures {
    size: Size,
    publishing: Duration,
    joining: Duration,
    handling: Duration,
    /// What the members took of this process at most, in each quarter of the backlog.
    quarters: [u64; 4],
    server: u64,
}

impl Figures {
    fn each(&self, took: Duration) -> f64 {
        took.as_secs_f64() * 1e6 / self.size.backlog as f64
    }

    fn say(&self) -> Result<()> {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        writeln!(
            std::io::stdout(),
            "{} topics, {} subscriptions, backlog {}: published in {:.1} µs a message, joined in {:.1} ms a \
             subscription, handled in {:.1} µs a message; members {} MiB in each quarter, server {:.0} MiB",
            self.size.subscriptions * TOPICS,
            self.size.subscriptions,
            self.size.backlog,
            self.each(self.publishing),
            self.joining.as_secs_f64() * 1e3 / self.size.subscriptions as f64,
            self.each(self.handling),
            self.quarters
                .map(|most| format!("{:.0}", mib(most)))
                .join(", "),
            mib(self.server)
        )?;
        Ok(())
    }
}

async fn publish(bus: &BusClient, size: &Size) -> Result<Duration> {
    let begun = Instant::now();
    let publisher = bus.publisher();
    for number in 0..size.backlog {
        let (subscription, topic) = (number % size.subscriptions, number / size.subscriptions);
        let topic = format!("s.{subscription}.t{}", topic % TOPICS);
        drop(publisher.send(&message(&topic, "x")?).await?);
    }
    publisher.flush().await?;
    Ok(begun.elapsed())
}

async fn drain(mut inbox: Subscription<Raw>, share: u64, handled: Arc<AtomicU64>) -> Result<()> {
    let mut mine = 0;
    while mine < share {
        let batch = inbox.next_batch(IN_FLIGHT).await.context("it ended")??;
        let count = batch.len() as u64;
        // Many at once, and confirmed: else what is not confirmed yet would be measured, up to thousands a member.
        try_join_all(batch.into_iter().map(Received::ack)).await?;
        mine += count;
        handled.fetch_add(count, Ordering::Relaxed);
    }
    inbox.close().await?;
    Ok(())
}

/// The backlog first, then everybody joins and handles it.
async fn run(server: &Broker, namespace: &str, size: Size) -> Result<Figures> {
    let url = format!("{}?namespace={namespace}", server.url());
    let bus = connect(&url).await?;
    let publishing = publish(&bus, &size).await?;
    let own = || resident(std::process::id());
    let before = own()?;
    let begun = Instant::now();
    let mut inboxes = Vec::new();
    for number in 0..size.subscriptions {
        let inbox = bus
            .subscribe::<Raw>("g")
            .pattern(format!("s.{number}.*"))
            .start_at(Start::Earliest)
            .max_in_flight(IN_FLIGHT)
            .await?;
        inboxes.push(inbox);
    }
    let joining = begun.elapsed();
    let begun = Instant::now();
    let handled = Arc::new(AtomicU64::new(0));
    let share = size.backlog / size.subscriptions;
    let mut draining = JoinSet::new();
    for inbox in inboxes {
        draining.spawn(drain(inbox, share, Arc::clone(&handled)));
    }
    let mut quarters = [before; 4];
    let mut handling = Duration::ZERO;
    let mut samples = tokio::time::interval(Duration::from_millis(50));
    while !draining.is_empty() {
        tokio::select! {
            Some(done) = draining.join_next() => done??,
            _ = samples.tick() => {
                let part = handled.load(Ordering::Relaxed) * 4 / size.backlog;
                if let Some(most) = quarters.get_mut(part as usize) {
                    *most = own()?.max(*most);
                }
            }
        }
        if handling.is_zero() && handled.load(Ordering::Relaxed) == size.backlog {
            handling = begun.elapsed();
        }
    }
    let memory = server.memory()?.context("the server is no local process")?;
    bus.close().await?;
    Ok(Figures {
        size,
        publishing,
        joining,
        handling,
        quarters: quarters.map(|most| most.saturating_sub(before)),
        server: memory,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_costs_the_same_however_long_the_backlog_is() -> Result<()> {
    let server = start([]).await?;
    let Size {
        subscriptions,
        backlog,
    } = Size::of_environment();
    let mut all = Vec::new();
    for (namespace, backlog) in [("short", backlog / LONGER), ("long", backlog)] {
        let size = Size {
            subscriptions,
            backlog,
        };
        let figures = timeout(LIMIT, run(&server, namespace, size)).await??;
        figures.say()?;
        all.push(figures);
    }
    let (short, long) = (&all[0], &all[1]);
    let factor = long.each(long.handling) / short.each(short.handling);
    ensure!(
        factor <= FACTOR,
        "a message of the long backlog costs {factor:.1} times as much"
    );
    // What they hold takes a while to fill; from then on it stays.
    let most = |figures: &Figures| figures.quarters.into_iter().max().unwrap_or_default();
    let (of_long, of_short) = (most(long), most(short));
    ensure!(
        of_long.saturating_sub(of_short) <= MORE,
        "members take {of_long} bytes at the long backlog, {of_short} at the short one"
    );
    let [.., third, last] = long.quarters;
    ensure!(
        last <= third + third / 4 + GRAIN,
        "members take {last} bytes in the last quarter of the backlog, {third} in the third"
    );
    Ok(())
}
