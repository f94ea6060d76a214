//! The stream of publishes under which faults happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bus::BusClient;
use tokio::task::{JoinHandle, JoinSet};

use super::ledger::Ledger;
use super::probe::Probe;

/// So many messages may wait to be handed out: a machine on which members cannot keep up publishes nothing until
/// [`RELIEF`] are left.
const BACKLOG: u64 = 3_000;

/// With fewer waiting, members keep up.
pub(super) const RELIEF: u64 = BACKLOG / 2;

/// Publishes numbered events at a steady rate, as far as the broker takes them.
#[derive(Debug)]
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Load {
    /// Starts publishing `rate` events a second.
    pub(super) fn start(bus: BusClient, ledger: Arc<Ledger>, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(publish(bus, ledger, rate, Arc::clone(&stop)));
        Self { stop, task }
    }

    /// Stops publishing and waits until everything that was sent has its outcome.
    pub(super) async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.task.await?)
    }
}

async fn publish(bus: BusClient, ledger: Arc<Ledger>, rate: u32, stop: Arc<AtomicBool>) {
    const TICK: Duration = Duration::from_millis(5);
    /// What a busy machine or a full window kept from being sent is sent later, so much of it.
    const LATE: Duration = Duration::from_secs(1);
    let publisher = bus.publisher();
    let mut outcomes = JoinSet::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = Instant::now();
    let (mut due, mut held_back) = (0.0, false);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let waited = last.elapsed().min(LATE);
        last = Instant::now();
        due += waited.as_secs_f64() * f64::from(rate);
        let waiting = ledger.books().waiting;
        held_back = waiting > if held_back { RELIEF / 2 } else { BACKLOG };
        if held_back {
            due = 0.0;
        }
        while due >= 1.0 {
            due -= 1.0;
            let number = ledger.books().issue();
            match publisher.send(&Probe::new(number)).await {
                Ok(confirmation) => {
                    let ledger = Arc::clone(&ledger);
                    outcomes.spawn(async move {
                        let outcome = confirmation.await;
                        let mut books = ledger.books();
                        match outcome {
                            Ok(_) => books.note_confirmed(number),
                            Err(error) => books.note_unconfirmed(&error),
                        }
                    });
                }
                Err(error) => {
                    let complaint = format!("a publish was refused: {error}");
                    ledger.books().complaints.push(complaint);
                    return;
                }
            }
        }
        while outcomes.try_join_next().is_some() {}
    }
    while outcomes.join_next().await.is_some() {}
}
