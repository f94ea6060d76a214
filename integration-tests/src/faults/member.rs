//! The process that a member is.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bus::{BusClient, Context, ErrorKind, Received, Retry, Start, State};
use clap::Args;

use super::probe::{Fate, PATTERN, Probe, fate, now};
use super::report::Report;

/// High enough that no event becomes a dead letter because processes were killed around it.
const MANY_ATTEMPTS: u32 = 1_000;
/// What the event that aborts the process is allowed.
pub(super) const ABORT_ATTEMPTS: u32 = 3;
/// The number of that event.
pub(super) const ABORTS: u64 = 100;
/// Longest time in a handler; with the rate of the run it makes many in flight.
const MOST_WORK: u64 = 40;

/// Of each member: many, and few enough that none of them lies in the member for seconds.
const IN_FLIGHT: usize = 128;

/// What a member process is told.
#[derive(Args, Clone, Debug)]
pub(super) struct Orders {
    /// The bus, with its namespace.
    #[arg(long)]
    pub(super) url: String,
    /// The group to join.
    #[arg(long)]
    pub(super) group: String,
    /// Of its subscription, in milliseconds.
    #[arg(long)]
    pub(super) lease: u64,
    /// Be a worker in whose handler one event aborts the process.
    #[arg(long)]
    pub(super) aborts: bool,
}

/// Takes part until it is killed.
pub(super) async fn run(orders: Orders) -> Result<()> {
    let bus = bus::connect(orders.url.as_str()).await?;
    let lease = Duration::from_millis(orders.lease);
    let outcome = if orders.aborts {
        work(&bus, &orders.group, lease).await
    } else {
        consume(&bus, &orders.group, lease).await
    };
    let why = outcome.map_or_else(|error| error.to_string(), |()| "the stream is over".into());
    Line::default().say(&[Report::Ended(why)])
}

/// A stream, because its tokens tell when a broker has confirmed.
async fn consume(bus: &BusClient, group: &str, lease: Duration) -> bus::Result<()> {
    let mut stream = bus
        .subscribe::<Probe>(group)
        .pattern(PATTERN)
        .start_at(Start::Earliest)
        .lease(lease)
        .max_in_flight(IN_FLIGHT)
        .retry(Retry::default().attempts(MANY_ATTEMPTS))
        .await?;
    let line = Line::default();
    let _ = line.say(&[Report::Joined]);
    while let Some(batch) = stream.next_batch(256).await {
        let batch = batch?;
        let at = now();
        let delivered: Vec<Report> = batch
            .iter()
            .map(|received| Report::Delivered {
                number: received.event().number,
                at,
            })
            .collect();
        // Said before anything is settled: what a member that dies has acked, it has been seen to have.
        let _ = line.say(&delivered);
        for received in batch {
            tokio::spawn(handle(received, line.clone()));
        }
    }
    Ok(())
}

async fn handle(received: Received<Probe>, line: Line) {
    let number = received.event().number;
    // A different time for each, and the same in every run.
    let work = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % MOST_WORK;
    tokio::time::sleep(Duration::from_millis(work)).await;
    let (settling, buried) = match fate(number) {
        Fate::Retried if received.attempt() == 1 => {
            let _ = received.nack_after(Duration::from_millis(50)).await;
            return;
        }
        Fate::Acked | Fate::Retried => (received.ack(), false),
        Fate::Buried => (received.dead_letter("its number says so"), true),
    };
    let outcome = settling.await;
    let at = now();
    let report = match outcome {
        Ok(()) if buried => Report::Buried { number, at },
        Ok(()) => Report::Acked { number, at },
        Err(error) if error.kind() == ErrorKind::Fenced => Report::Fenced { number },
        Err(error) => Report::Ended(format!("settling {number}: {error}")),
    };
    let _ = line.say(&[report]);
}

/// A worker, because it runs what comes back without an explanation alone.
async fn work(bus: &BusClient, group: &str, lease: Duration) -> bus::Result<()> {
    let line = Line::default();
    let running = bus
        .worker(group)
        .state(line.clone())
        .pattern(PATTERN)
        .start_at(Start::Earliest)
        .lease(lease)
        .max_in_flight(256)
        .concurrency(8)
        .retry(Retry::default().attempts(ABORT_ATTEMPTS))
        .on(abort_or_handle)
        .start()
        .await?;
    let _ = line.say(&[Report::Joined]);
    running.join().await.map(drop)
}

async fn abort_or_handle(probe: Probe, State(line): State<Line>, _: Context) {
    let number = probe.number;
    let _ = line.say(&[Report::Started { number }]);
    if number == ABORTS {
        std::process::abort();
    }
    tokio::time::sleep(Duration::from_millis(2)).await;
    let _ = line.say(&[Report::Acked { number, at: now() }]);
}

/// The standard output, to which whole lines are written at once.
#[derive(Clone, Debug, Default)]
struct Line(Arc<Mutex<()>>);

impl Line {
    fn say(&self, reports: &[Report]) -> Result<()> {
        let text: String = reports.iter().map(|report| format!("{report}\n")).collect();
        let _whole = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = std::io::stdout();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }
}
