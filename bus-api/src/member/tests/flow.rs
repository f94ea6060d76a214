//! O: permits, lanes, quarantine, retries in place, pausing.

use std::sync::Arc;
use std::time::Duration;

use super::super::*;
use super::fake::*;
use super::{all_now, next_now, number, numbers};
use crate::contract::{AttemptRecord, Failure, Inflow, Order, Scope, Settlement};

const SECOND: Duration = Duration::from_secs(1);

fn failure() -> Failure {
    Failure::new(Failure::HANDLER, "no")
}

fn retry(after: Duration) -> Decision {
    Decision::Retry { after }
}

fn record(failures: u32, crashes: u32) -> AttemptRecord {
    AttemptRecord {
        failures,
        crashes,
        ..AttemptRecord::default()
    }
}

#[tokio::test(start_paused = true)]
async fn o3_no_more_than_max_in_flight_are_held() {
    within(async {
        let fake = Fake::default();
        let mut spec = spec();
        spec.max_in_flight = 4;
        let mut member = fake.join(options(spec)).await;
        fake.deliver((1..=10).map(delivery));
        let mut held = all_now(&mut member).await;
        assert_eq!(numbers(&held), [1, 2, 3, 4]);
        assert_eq!(member.handle().in_flight(), 4);
        held.remove(2).ack().await.unwrap();
        held.extend(all_now(&mut member).await);
        assert_eq!(numbers(&held), [1, 2, 4, 5]);
        assert!(fake.script().asked.iter().all(|asked| *asked <= 4));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn o3_a_permit_is_free_when_settling_is_requested() {
    within(async {
        let fake = Fake::default();
        fake.set_mute(true);
        let mut spec = spec();
        spec.max_in_flight = 1;
        let mut member = fake.join(options(spec)).await;
        fake.deliver((1..=3).map(|n| keyed(n, "k")));
        let mut confirmations = Vec::new();
        for _ in 0..3 {
            confirmations.push(next_now(&mut member).await.unwrap().ack());
        }
        assert!(!member.handle().is_idle());
        fake.set_mute(false);
        for confirmation in confirmations {
            confirmation.await.unwrap();
        }
        assert!(member.handle().is_idle());
        assert_eq!(fake.script().settled.len(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn o3_few_permits_wait_for_more_but_not_for_ever() {
    within(async {
        let fake = Fake::default();
        let mut spec = spec();
        spec.max_in_flight = 32;
        let mut member = fake.join(options(spec)).await;
        fake.deliver((1..=32).map(delivery));
        let mut held = all_now(&mut member).await;
        assert_eq!(held.len(), 32);
        let asked = fake.script().asked.len();
        fake.deliver((33..=64).map(delivery));
        // Eight at once are asked for together.
        for one in held.drain(..8) {
            drop(one.ack());
        }
        let mut more = all_now(&mut member).await;
        assert_eq!(more.len(), 8);
        assert_eq!(fake.script().asked[asked..], [8]);
        // One alone comes, too.
        drop(more.remove(0).ack());
        assert!(next_now(&mut member).await.is_some());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn o1_one_of_a_key_at_a_time_in_order_and_other_keys_beside_it() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        fake.deliver([
            keyed(1, "a"),
            keyed(2, "a"),
            keyed(3, "b"),
            keyed(4, "a"),
            delivery(5),
        ]);
        let mut held = all_now(&mut member).await;
        assert_eq!(numbers(&held), [1, 3, 5]);
        drop(held.remove(0).ack());
        let second = next_now(&mut member).await.unwrap();
        assert_eq!(number(&second), 2);
        assert!(next_now(&mut member).await.is_none());
        // A failed message of an unordered group gives its lane up.
        drop(second.fail(failure(), retry(SECOND)));
        assert_eq!(number(&next_now(&mut member).await.unwrap()), 4);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn o1_a_batch_may_hold_several_of_a_key_in_order() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        fake.deliver([keyed(1, "a"), keyed(2, "a"), keyed(3, "b"), keyed(4, "a")]);
        let batch = member.next_batch(3, SECOND).await.unwrap().unwrap();
        assert_eq!(numbers(&batch), [1, 2, 4]);
        fake.deliver([keyed(5, "a")]);
        // The lane is free when the whole batch is settled.
        let rest = member.next_batch(9, SECOND).await.unwrap().unwrap();
        assert_eq!(numbers(&rest), [3]);
        for held in batch {
            held.ack().await.unwrap();
        }
        let rest = member.next_batch(9, Duration::ZERO).await.unwrap().unwrap();
        assert_eq!(numbers(&rest), [5]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn o2_a_failed_message_is_tried_again_in_its_lane_with_its_record() {
    within(async {
        let fake = Fake::default();
        let mut spec = spec();
        spec.order = Order::PerKey;
        let mut member = fake.join(options(spec)).await;
        fake.deliver([keyed(1, "a"), keyed(2, "a"), keyed(3, "b")]);
        let held = all_now(&mut member).await;
        assert_eq!(numbers(&held), [1, 3]);
        let mut held = held.into_iter();
        let started = Instant::now();
        let (first, other) = (held.next().unwrap(), held.next().unwrap());
        first.fail(failure(), retry(SECOND)).await.unwrap();
        other.ack().await.unwrap();
        let again = member.next().await.unwrap().unwrap();
        assert!(started.elapsed() >= SECOND);
        assert_eq!((number(&again), again.attempt()), (1, 2));
        // The failure was stored when it happened, the mark before the second run.
        let marks: Vec<_> = fake
            .script()
            .marked
            .iter()
            .map(|(receipt, record)| (receipt.slot, record.failures, record.started))
            .collect();
        assert_eq!(marks, [(1, 1, false), (1, 1, true)]);
        again.ack().await.unwrap();
        assert_eq!(number(&next_now(&mut member).await.unwrap()), 2);
        assert!(
            fake.script()
                .settled
                .iter()
                .all(|(_, settlement)| matches!(settlement, Settlement::Ack))
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn o2_a_key_that_was_told_to_rest_rests() {
    within(async {
        let fake = Fake::default();
        let mut spec = spec();
        spec.order = Order::PerKey;
        let mut member = fake.join(options(spec)).await;
        let started = Instant::now();
        let resting = crate::contract::Delivery {
            not_before: Some(started + 5 * SECOND),
            ..keyed(1, "a")
        };
        fake.deliver([resting, keyed(2, "a"), keyed(3, "b")]);
        let other = all_now(&mut member).await;
        assert_eq!(numbers(&other), [3]);
        let first = member.next().await.unwrap().unwrap();
        assert_eq!(number(&first), 1);
        assert!(started.elapsed() >= 5 * SECOND);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn s5_a_broadcast_tries_again_in_the_member_and_settles_nothing() {
    within(async {
        let fake = Fake::default();
        let mut spec = spec();
        spec.scope = Scope::Broadcast;
        let mut member = fake.join(options(spec)).await;
        fake.deliver([redelivered(1, None), delivery(2)]);
        for attempt in 1..=3 {
            let held = member.next().await.unwrap().unwrap();
            let held = if number(&held) == 2 {
                held.ack().await.unwrap();
                member.next().await.unwrap().unwrap()
            } else {
                held
            };
            assert_eq!((number(&held), held.attempt()), (1, attempt));
            drop(held);
        }
        assert!(next_now(&mut member).await.is_none());
        let report = member.drain(Instant::now() + SECOND).await;
        assert!(report.is_clean(), "{report:?}");
        let script = fake.script();
        assert!(script.settled.is_empty() && script.marked.is_empty());
        assert!(script.extended.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn r4_suspects_run_one_at_a_time_until_their_settling_is_confirmed() {
    within(async {
        let fake = Fake::default();
        let mut options = options(spec());
        options.quarantine = true;
        let mut member = fake.join(options).await;
        fake.deliver([
            redelivered(1, None),
            redelivered(2, None),
            redelivered(3, Some(record(1, 0))),
            redelivered(4, Some(record(1, 1))),
            delivery(5),
        ]);
        let mut held = all_now(&mut member).await;
        assert_eq!(numbers(&held), [1, 3, 5]);
        assert_eq!(fake.script().marked.len(), 2);
        fake.set_mute(true);
        let confirmation = held.remove(0).ack();
        assert!(next_now(&mut member).await.is_none());
        fake.set_mute(false);
        confirmation.await.unwrap();
        let second = next_now(&mut member).await.unwrap();
        assert_eq!(number(&second), 2);
        assert!(next_now(&mut member).await.is_none());
        second.fail(failure(), retry(SECOND)).await.unwrap();
        assert_eq!(number(&next_now(&mut member).await.unwrap()), 4);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn r4_without_quarantine_a_batch_is_marked_in_one_call() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        fake.deliver([redelivered(1, None), delivery(2), redelivered(3, None)]);
        let batch = member.next_batch(9, Duration::ZERO).await.unwrap().unwrap();
        assert_eq!(numbers(&batch), [1, 2, 3]);
        let marked: Vec<_> = fake
            .script()
            .marked
            .iter()
            .map(|(r, m)| (r.slot, m.started))
            .collect();
        assert_eq!(marked, [(1, true), (3, true)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_mark_is_refused_does_not_start() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        let fenced = Error::new(ErrorKind::Fenced, "taken over");
        let away = Error::new(ErrorKind::Unavailable, "away");
        fake.script().mark_answers.extend([Err(fenced), Err(away)]);
        fake.deliver([redelivered(1, None), redelivered(2, None)]);
        // The second one is tried again until it is stored.
        let held = member.next().await.unwrap().unwrap();
        assert_eq!(number(&held), 2);
        assert_eq!(member.handle().in_flight(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pausing_stops_fetching_only() {
    within(async {
        let fake = Fake::default();
        let mut member = fake.join(options(spec())).await;
        let handle = member.handle();
        fake.deliver([delivery(1), delivery(2)]);
        let first = next_now(&mut member).await.unwrap();
        handle.pause();
        assert_eq!(number(&next_now(&mut member).await.unwrap()), 2);
        fake.deliver([delivery(3)]);
        assert!(next_now(&mut member).await.is_none());
        drop(first.ack());
        handle.resume();
        assert_eq!(number(&next_now(&mut member).await.unwrap()), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_not_started_and_what_is_reclaimed_is_released() {
    within(async {
        let fake = Fake::default();
        let mut spec = spec();
        spec.order = Order::PerKey;
        let mut member = fake.join(options(spec)).await;
        fake.deliver([
            keyed(1, "a"),
            keyed(2, "a"),
            keyed(3, "a"),
            keyed(4, "b"),
            keyed(5, "c"),
        ]);
        let mut held = all_now(&mut member).await;
        assert_eq!(numbers(&held), [1, 4, 5]);
        // 5 rests after a failure, 1 and 4 run.
        drop(held.remove(2).fail(failure(), retry(10 * SECOND)));
        fake.say(Ok(Inflow::Lost(vec![receipt(1), receipt(2)])));
        let by = Instant::now() + SECOND;
        fake.say(Ok(Inflow::Reclaim {
            receipts: vec![receipt(5), receipt(4)],
            by,
        }));
        assert!(next_now(&mut member).await.is_none());
        fake.until(|script| script.settled.iter().any(|(r, _)| *r == receipt(5)))
            .await;
        {
            let script = fake.script();
            let (_, settlement) = script
                .settled
                .iter()
                .find(|(r, _)| *r == receipt(5))
                .unwrap();
            assert!(
                matches!(settlement, Settlement::Requeue { record: Some(r), .. } if r.failures == 1)
            );
        }
        // What runs is settled; a reclaimed one that fails is not kept.
        held.remove(1).fail(failure(), retry(SECOND)).await.unwrap();
        let last = fake.script().settled.last().cloned().unwrap();
        assert!(matches!(last, (r, Settlement::Requeue { .. }) if r == receipt(4)));
        drop(held.remove(0).ack());
        assert_eq!(number(&next_now(&mut member).await.unwrap()), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn news_are_received_while_the_consumer_is_busy() {
    within(async {
        let fake = Fake::default();
        let mut spec = spec();
        spec.max_in_flight = 2;
        let mut member = fake.join(options(spec)).await;
        fake.deliver([keyed(1, "a"), keyed(2, "a")]);
        let first = next_now(&mut member).await.unwrap();
        let by = Instant::now() + 20 * SECOND;
        let receipts = vec![receipt(2)];
        fake.say(Ok(Inflow::Reclaim { receipts, by }));
        // Nobody calls `next`, and no permit is free.
        fake.until(|script| !script.settled.is_empty()).await;
        assert!(Instant::now() < by);
        assert!(matches!(fake.script().settled[0], (r, Settlement::Release) if r == receipt(2)));
        drop(first);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn l2_a_cancelled_next_loses_nothing() {
    within(async {
        for seed in 0..200_u64 {
            let mut random = fastrand::Rng::with_seed(seed);
            let fake = Fake::default();
            let member = fake.join(options(spec())).await;
            let member = Arc::new(tokio::sync::Mutex::new(member));
            let feeder = fake.clone();
            let feed = tokio::spawn(async move {
                for n in 1..=40 {
                    feeder.deliver([if n % 3 == 0 {
                        redelivered(n, None)
                    } else {
                        delivery(n)
                    }]);
                    tokio::time::sleep(Duration::from_micros(700)).await;
                }
            });
            let mut seen = Vec::new();
            while seen.len() < 40 {
                let mut member = member.lock().await;
                let limit = Duration::from_micros(random.u64(0..4000));
                if random.bool() {
                    let next = tokio::time::timeout(limit, member.next()).await;
                    let Ok(Some(held)) = next else { continue };
                    let held = held.unwrap();
                    seen.push(number(&held));
                    drop(held.ack());
                } else {
                    let max = random.usize(1..5);
                    let batch = member.next_batch(max, Duration::from_millis(2));
                    let Ok(Some(batch)) = tokio::time::timeout(limit, batch).await else {
                        continue;
                    };
                    for held in batch.unwrap() {
                        seen.push(number(&held));
                        drop(held.ack());
                    }
                }
            }
            feed.await.unwrap();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(1..=40), "seed {seed}");
        }
    })
    .await;
}
