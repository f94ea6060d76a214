//! The breaker of a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bus_api::{Breaker, Context, Error, ErrorKind, HandlerResult, Jitter, Retry, State};
use tokio::time::Instant;

use crate::support::*;

#[derive(Clone)]
struct Db {
    away: Arc<AtomicBool>,
    noter: Noter<(u64, u32, Instant)>,
}

async fn placed(e: Placed, ctx: Context, State(db): State<Db>) -> HandlerResult {
    db.noter.note((e.id, ctx.attempt(), Instant::now()));
    if db.away.load(Ordering::Relaxed) {
        Err(Error::new(ErrorKind::Unavailable, "the database is away"))?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn it_pauses_probes_and_goes_on_and_costs_no_attempt() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let away = Arc::new(AtomicBool::new(true));
        let db = Db {
            away: away.clone(),
            noter,
        };
        let retry = Retry::exponential(secs(600), secs(600))
            .attempts(3)
            .jitter(Jitter::None);
        let worker = bus
            .worker("mail")
            .state(db)
            .on(placed)
            .concurrency(1)
            .retry(retry);
        let running = worker
            .breaker(Breaker::after(3).pause(secs(5)))
            .start()
            .await
            .unwrap();
        let begin = Instant::now();
        for id in 1..=6 {
            bus.publish(&Placed { id }).await.unwrap();
        }
        let first = notes.take(3).await;
        assert!(
            first
                .iter()
                .all(|(_, attempt, at)| *attempt == 1 && *at - begin < secs(1))
        );
        // Open: one probe every five seconds, for longer than the attempts would have lasted.
        for probe in 1..=12_u32 {
            let (_, attempt, at) = notes.next().await;
            let since = at - begin;
            assert_eq!(attempt, 1, "a probe costs no attempt");
            let expected = secs(5) * probe;
            assert!(
                since >= expected && since < expected + secs(1),
                "{probe}: {since:?}"
            );
        }
        away.store(false, Ordering::Relaxed);
        let mut rest: Vec<u64> = Vec::new();
        while rest.len() < 6 {
            let (id, ..) = notes.next().await;
            rest.push(id);
        }
        rest.sort_unstable();
        assert_eq!(rest, [1, 2, 3, 4, 5, 6]);
        let report = running.shutdown(secs(1)).await;
        assert_eq!(
            (report.handled, report.retried, report.dead_lettered),
            (6, 3, 0)
        );
        assert_eq!(report.deferred, 12);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn other_failures_do_not_open_it() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let worker = bus
            .worker("mail")
            .state(noter)
            .concurrency(1)
            .retry(Retry::never());
        let _worker = worker
            .breaker(Breaker::after(2).pause(secs(3_000)))
            .on(async |e: Placed, State(n): State<Noter<u64>>| {
                n.note(e.id);
                Err::<(), _>("a bad order")
            })
            .start()
            .await
            .unwrap();
        let begin = Instant::now();
        for id in 0..10 {
            bus.publish(&Placed { id }).await.unwrap();
        }
        notes.take(10).await;
        assert!(begin.elapsed() < secs(10));
    })
    .await;
}
