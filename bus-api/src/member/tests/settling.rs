//! A: settling, leases, records.

use std::time::Duration;

use super::super::*;
use super::fake::*;
use super::{next_now, number};
use crate::contract::{AttemptRecord, Failure, Settlement};

const SECOND: Duration = Duration::from_secs(1);

fn failure() -> Failure {
    Failure::new(Failure::HANDLER, "no")
}

#[tokio::test(start_paused = true)]
async fn a1_an_ack_returns_when_the_broker_has_confirmed() {
    within(async {
        let fake = Fake::default();
        fake.set_mute(true);
        let mut member = fake.join(options(spec())).await;
        fake.deliver([delivery(1)]);
        let mut ack = Box::pin(next_now(&mut member).await.unwrap().ack());
        assert!(tokio::time::timeout(SECOND, &mut ack).await.is_err());
        fake.set_mute(false);
        ack.await.unwrap();
        assert!(matches!(fake.script().settled[..], [(r, Settlement::Ack)] if r == receipt(1)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a1_an_ack_that_is_not_awaited_is_settled_all_the_same() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        fake.deliver([delivery(1)]);
        drop(next_now(&mut member).await.unwrap().ack());
        fake.until(|script| script.settled.len() == 1).await;
        assert!(member.handle().is_idle());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_retryable_error_is_tried_again_and_another_one_is_told() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        let away = || Err(Error::new(ErrorKind::Unavailable, "away"));
        let fenced = Error::new(ErrorKind::Fenced, "taken over");
        fake.script()
            .answers
            .extend([away(), Err(fenced), away(), Ok(()), away()]);
        fake.deliver((1..=4).map(delivery));
        let batch = member.next_batch(4, Duration::ZERO).await.unwrap().unwrap();
        let mut confirmations: Vec<_> = batch
            .into_iter()
            .map(|held| match number(&held) {
                3 => held.fail(failure(), Decision::Retry { after: SECOND }),
                _ => held.ack(),
            })
            .collect();
        confirmations.remove(3).await.unwrap();
        let third = confirmations.remove(2).await;
        let second = confirmations.remove(1).await.unwrap_err();
        assert_eq!(second.kind(), ErrorKind::Fenced);
        third.unwrap();
        confirmations.remove(0).await.unwrap();
        let settled = fake.script().settled.clone();
        let third = settled.iter().find(|(r, _)| *r == receipt(3)).unwrap();
        assert!(matches!(third.1, Settlement::Requeue { after, .. } if after == SECOND));
        assert!(member.handle().is_idle());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a4_a_dropped_delivery_failed_under_the_policy() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        fake.deliver([delivery(1)]);
        drop(next_now(&mut member).await.unwrap());
        let failed = AttemptRecord {
            failures: 2,
            ..AttemptRecord::default()
        };
        fake.deliver([redelivered(2, Some(failed))]);
        drop(next_now(&mut member).await.unwrap());
        fake.until(|script| script.settled.len() == 2).await;
        let script = fake.script();
        match &script.settled[0].1 {
            Settlement::Requeue {
                after,
                record: Some(record),
            } => {
                assert_eq!(
                    (*after, record.failures, record.started),
                    (SECOND, 1, false)
                );
            }
            other => panic!("{other:?}"),
        }
        match &script.settled[1].1 {
            Settlement::DeadLetter(letter) => {
                assert_eq!(letter.attempts, 3);
                assert_eq!(letter.error.kind, Failure::DROPPED);
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a5_everything_held_or_waiting_is_renewed_every_third_of_a_lease() {
    within(async {
        let fake = Fake::default();
        let mut spec = spec();
        spec.lease = Duration::from_millis(300);
        let mut member = fake.join(options(spec)).await;
        fake.deliver([keyed(1, "a"), keyed(2, "a")]);
        let held = next_now(&mut member).await.unwrap();
        tokio::time::sleep(Duration::from_millis(900)).await;
        let count = |n| {
            fake.script()
                .extended
                .iter()
                .filter(|r| **r == receipt(n))
                .count()
        };
        assert!((8..=9).contains(&count(1)), "{}", count(1));
        assert_eq!(count(1), count(2));
        held.ack().await.unwrap();
        drop(next_now(&mut member).await.unwrap().ack());
        let before = (count(1), count(2));
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert_eq!((count(1), count(2)), before);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a7_defer_and_hand_back_leave_the_attempt_as_it_is() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        let failed = AttemptRecord {
            failures: 1,
            ..AttemptRecord::default()
        };
        fake.deliver([
            delivery(1),
            redelivered(2, Some(failed)),
            delivery(3),
            redelivered(4, Some(failed)),
        ]);
        for _ in 0..2 {
            let held = next_now(&mut member).await.unwrap();
            held.fail(failure(), Decision::Defer { after: SECOND })
                .await
                .unwrap();
        }
        for _ in 0..2 {
            next_now(&mut member)
                .await
                .unwrap()
                .hand_back()
                .await
                .unwrap();
        }
        let settled = fake.script().settled.clone();
        assert!(matches!(
            settled[0].1,
            Settlement::Requeue { record: None, .. }
        ));
        assert!(matches!(settled[1].1, Settlement::Requeue { record: Some(r), .. } if r == failed));
        assert!(matches!(settled[2].1, Settlement::Release));
        assert!(matches!(settled[3].1, Settlement::Release));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn r4_a_mark_found_set_counts_as_a_crash_and_the_last_one_is_a_dead_letter() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        let started = |crashes| AttemptRecord {
            crashes,
            started: true,
            ..AttemptRecord::default()
        };
        fake.deliver([
            redelivered(1, Some(started(0))),
            redelivered(2, Some(started(2))),
        ]);
        let held = next_now(&mut member).await.unwrap();
        assert_eq!((number(&held), held.attempt()), (1, 2));
        assert!(next_now(&mut member).await.is_none());
        let script = fake.script();
        assert_eq!(
            (script.marked[0].1.crashes, script.marked[0].1.started),
            (1, true)
        );
        match &script.settled[..] {
            [(r, Settlement::DeadLetter(letter))] if *r == receipt(2) => {
                assert_eq!((letter.attempts, &*letter.error.kind), (3, Failure::CRASH));
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
}
