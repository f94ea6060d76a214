//! L, R7: draining, dropping, and subscriptions that end by themselves.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::super::*;
use super::fake::*;
use super::{next_now, number};
use crate::contract::{Failure, Settlement};

const SECOND: Duration = Duration::from_secs(1);

fn released(script: &Script) -> Vec<u64> {
    let mut numbers: Vec<_> = script
        .settled
        .iter()
        .filter(|(_, settlement)| matches!(settlement, Settlement::Release))
        .map(|(receipt, _)| receipt.slot)
        .collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test(start_paused = true)]
async fn r7_a_drain_hands_back_the_unstarted_at_once_and_waits_for_the_rest() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        fake.deliver([
            delivery(1),
            delivery(2),
            keyed(3, "a"),
            keyed(4, "a"),
            redelivered(5, None),
        ]);
        let held = next_now(&mut member).await.unwrap();
        let drain = tokio::spawn(member.drain(Instant::now() + 60 * SECOND));
        fake.until(|script| released(script) == [2, 3, 4, 5]).await;
        assert!(!drain.is_finished());
        assert!(fake.script().marked.is_empty());
        held.ack().await.unwrap();
        let report = drain.await.unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.handed_back, 4);
        assert_eq!(fake.script().left, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn l1_at_the_deadline_what_is_held_is_abandoned() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        fake.deliver([delivery(1), delivery(2)]);
        let (first, second) = (
            next_now(&mut member).await.unwrap(),
            next_now(&mut member).await.unwrap(),
        );
        fake.set_mute(true);
        let ack = second.ack();
        let started = Instant::now();
        let report = member.drain(started + 5 * SECOND).await;
        assert_eq!((report.abandoned, report.unconfirmed), (1, 1));
        assert!(started.elapsed() >= 5 * SECOND);
        assert_eq!(ack.await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(first.ack().await.unwrap_err().kind(), ErrorKind::Closed);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn s8_a_deleted_subscription_ends_with_not_found_and_settles_nothing() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        fake.deliver([delivery(1), keyed(2, "a"), keyed(3, "a")]);
        let held = next_now(&mut member).await.unwrap();
        let keyed = next_now(&mut member).await.unwrap();
        fake.say(Err(Error::new(ErrorKind::NotFound, "deleted")));
        let error = member.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(member.next().await.is_none());
        drop((held.ack(), keyed.ack()));
        let report = member.drain(Instant::now() + SECOND).await;
        assert_eq!(report.handed_back, 0);
        assert!(released(&fake.script()).is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn v3_a_newer_record_ends_the_subscription_without_settling() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        let mut newer = delivery(2);
        newer.record = Some(bytes::Bytes::from_static(&[9, 0, 0]));
        fake.deliver([delivery(1), newer, delivery(3)]);
        let error = member.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(member.next().await.is_none());
        drop(member);
        fake.until(|script| script.left == 1).await;
        assert!(fake.script().settled.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_was_begun_comes_before_the_end() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        fake.deliver([delivery(1)]);
        fake.say(Err(Error::new(ErrorKind::NotFound, "deleted")));
        let batch = member.next_batch(9, SECOND).await.unwrap().unwrap();
        assert_eq!(batch.len(), 1);
        let error = member.next_batch(9, SECOND).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(member.next_batch(9, SECOND).await.is_none());
    })
    .await;
}

/// The keeper is the last to hold what is shared.
async fn gone(shared: Weak<Shared>) {
    while shared.strong_count() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_member_hands_back_and_leaves_when_the_last_delivery_is_settled() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        fake.deliver((1..=3).map(delivery));
        let held = next_now(&mut member).await.unwrap();
        let shared = Arc::downgrade(&member.shared);
        drop(member);
        fake.until(|script| released(script) == [2, 3]).await;
        assert_eq!(fake.script().left, 0);
        held.ack().await.unwrap();
        fake.until(|script| script.left == 1).await;
        gone(shared).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_task_is_left_after_drain_or_drop() {
    within(async {
        let metrics = tokio::runtime::Handle::current().metrics();
        let before = metrics.num_alive_tasks();
        for round in 0..20 {
            let fake = Fake::default();
            let mut member = fake.join(options(spec())).await;
            fake.deliver((1..=5).map(delivery));
            let held = next_now(&mut member).await.unwrap();
            let shared = Arc::downgrade(&member.shared);
            if round % 2 == 0 {
                drop(held);
                let report = member.drain(Instant::now() + SECOND).await;
                assert!(report.is_clean(), "{report:?}");
            } else {
                drop(member);
                drop(held);
            }
            gone(shared).await;
        }
        assert_eq!(metrics.num_alive_tasks(), before);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_closing_bus_ends_the_stream_and_waits_for_what_is_held() {
    within(async {
        let fake = Fake::default();
        let core = fake.core();
        let mut member = Member::join(&core, options(spec())).await.unwrap();
        fake.deliver((1..=2).map(delivery));
        let held = next_now(&mut member).await.unwrap();
        assert_eq!(number(&held), 1);
        core.life.advance(crate::client::Stage::Draining);
        fake.until(|script| released(script) == [2]).await;
        assert!(member.next().await.is_none());
        assert_eq!(core.life.participants(), 1);
        drop(member);
        drop(held.fail(Failure::new("x", ""), Decision::Defer { after: SECOND }));
        core.life.deserted().await;
        assert_eq!(fake.script().settled.len(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_closing_bus_does_not_wait_for_a_stream_that_nobody_reads() {
    within(async {
        let fake = Fake::default();
        let core = fake.core();
        let member = Member::join(&core, options(spec())).await.unwrap();
        core.life.advance(crate::client::Stage::Draining);
        core.life.deserted().await;
        assert!(member.drain(Instant::now() + SECOND).await.is_clean());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_below_the_minimum_is_refused() {
    within(async {
        let fake = Fake::default();
        let mut spec = spec();
        spec.lease = Duration::from_millis(1);
        let error = Member::join(&fake.core(), options(spec)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    })
    .await;
}
