//! A: acks that the adapter confirms while it is asked for them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::super::*;
use super::fake::*;
use super::{all_now, next_now, numbers};
use crate::contract::{Failure, Settlement};

fn at_once() -> Fake {
    let fake = Fake::default();
    fake.script().at_once = true;
    fake
}

#[tokio::test(start_paused = true)]
async fn a1_it_is_settled_and_free_before_anyone_waits() {
    within(async {
        let fake = at_once();
        let mut spec = spec();
        spec.max_in_flight = 1;
        let mut member = fake.join(options(spec)).await;
        fake.deliver([delivery(1)]);
        let ack = next_now(&mut member).await.unwrap().ack();
        assert!(matches!(fake.script().settled[..], [(r, Settlement::Ack)] if r == receipt(1)));
        assert!(member.handle().is_idle());
        fake.deliver([delivery(2)]);
        next_now(&mut member).await.unwrap().done();
        assert_eq!(fake.script().settled.len(), 2);
        ack.await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        assert!(member.drain(deadline).await.is_clean());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_what_is_not_acked_at_once_goes_the_usual_way() {
    within(async {
        let fake = at_once();
        let mut member = fake.join(options(spec())).await;
        let away = Error::new(ErrorKind::Unavailable, "away");
        let fenced = Error::new(ErrorKind::Fenced, "taken over");
        fake.script().answers.extend([Err(away), Err(fenced)]);
        fake.deliver([delivery(1), delivery(2)]);
        let ack = next_now(&mut member).await.unwrap().ack();
        assert_eq!(ack.await.unwrap_err().kind(), ErrorKind::Fenced);
        let failure = Failure::new(Failure::HANDLER, "no");
        let failed = next_now(&mut member).await.unwrap();
        failed.fail(failure, Decision::DeadLetter).await.unwrap();
        let script = fake.script();
        assert!(
            matches!(&script.settled[..], [(r, Settlement::DeadLetter(_))] if *r == receipt(2))
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn r4_the_next_suspect_runs_once_the_first_is_settled() {
    within(async {
        let fake = at_once();
        let mut options = options(spec());
        options.quarantine = true;
        let mut member = fake.join(options).await;
        fake.deliver([redelivered(1, None), redelivered(2, None)]);
        let first = all_now(&mut member).await;
        assert_eq!(numbers(&first), [1]);
        first.into_iter().for_each(Held::done);
        assert_eq!(numbers(&all_now(&mut member).await), [2]);
    })
    .await;
}

#[tokio::test]
async fn others_run_while_one_task_takes_and_settles_without_end() {
    static TURNS: AtomicU32 = AtomicU32::new(0);
    let fake = at_once();
    let mut spec = spec();
    spec.max_in_flight = 1_000;
    let mut member = fake.join(options(spec)).await;
    fake.deliver((1..=1_000).map(delivery));
    let other = tokio::spawn(async {
        loop {
            TURNS.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..1_000 {
        let held = member.next().await.unwrap().unwrap();
        held.ack().await.unwrap();
    }
    assert!(TURNS.load(Ordering::Relaxed) > 3);
    other.abort();
}
