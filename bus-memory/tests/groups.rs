//! Groups: durable positions, competing members, leases, redelivery, starts.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use std::time::Duration;

use bus_api::{
    AttemptRecord, Bus, ErrorKind, Inflow, Order, Scope, Settlement, Start, SubscriptionSpec,
};
use bus_memory::MemoryBus;
use common::{ack, bodies, body, deliveries, group, id, keyed, message, nothing, settle, within};
use tokio::time::Instant;

const LEASE: Duration = SubscriptionSpec::DEFAULT_LEASE;

fn starting(spec: SubscriptionSpec, start: Start) -> SubscriptionSpec {
    SubscriptionSpec { start, ..spec }
}

fn ordered(spec: SubscriptionSpec) -> SubscriptionSpec {
    SubscriptionSpec {
        order: Order::PerKey,
        ..spec
    }
}

const fn requeue(after: Duration, record: Option<AttemptRecord>) -> Settlement {
    Settlement::Requeue { after, record }
}

#[tokio::test(start_paused = true)]
async fn what_is_published_is_received_and_acked() {
    within(async {
        let bus = MemoryBus::new();
        let mut inbound = bus.subscribe(group("mail", "orders.>")).await.unwrap();
        let batch = vec![
            message("orders.placed", "a"),
            message("users.new", "b"),
            message("orders.paid", "c"),
        ];
        for result in bus.publish(batch).await {
            result.unwrap();
        }
        let got = deliveries(&mut inbound, 10).await;
        assert_eq!(bodies(&got), ["a", "c"]);
        assert!(got.iter().all(|one| one.delivery == 1 && !one.redelivered));
        let info = &bus.admin().subscriptions().await.unwrap()[0];
        assert_eq!((info.lag, info.pending, info.members), (2, 2, 1));
        ack(&inbound, &got).await;
        bus.settled().await;
        let info = &bus.admin().subscriptions().await.unwrap()[0];
        assert_eq!((info.lag, info.pending, info.oldest), (0, 0, None));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_group_outlives_its_members_and_keeps_its_position() {
    within(async {
        let bus = MemoryBus::new();
        let mut inbound = bus.subscribe(group("mail", "a")).await.unwrap();
        bus.publish(vec![message("a", "1"), message("a", "2")])
            .await;
        let got = deliveries(&mut inbound, 1).await;
        ack(&inbound, &got).await;
        drop(inbound);
        assert!(bus.leftovers().is_empty());
        bus.publish(vec![message("a", "3")]).await;
        // The start is not looked at: the stored position wins.
        let again = starting(group("mail", "a"), Start::Latest);
        let mut inbound = bus.subscribe(again).await.unwrap();
        assert_eq!(bodies(&deliveries(&mut inbound, 10).await), ["2", "3"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn groups_and_patterns_each_get_every_message() {
    within(async {
        let bus = MemoryBus::new();
        for (name, pattern) in [("a", "x.*"), ("a", "x.>"), ("b", "x.y"), ("c", "*.y")] {
            bus.subscribe(group(name, pattern)).await.unwrap();
        }
        bus.publish(vec![message("x.y", "1"), message("x.z", "2")])
            .await;
        let lags: Vec<_> = bus
            .admin()
            .subscriptions()
            .await
            .unwrap()
            .iter()
            .map(|info| (info.id.to_string(), info.lag))
            .collect();
        let expected = [
            ("a on x.*", 2),
            ("a on x.>", 2),
            ("b on x.y", 1),
            ("c on *.y", 1),
        ];
        assert_eq!(lags, expected.map(|(name, lag)| (name.to_owned(), lag)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn waiting_members_share_a_batch() {
    within(async {
        let bus = MemoryBus::new();
        let mut members = Vec::new();
        for _ in 0..4 {
            let mut inbound = bus.subscribe(group("mail", "a")).await.unwrap();
            members.push(tokio::spawn(async move {
                let got = deliveries(&mut inbound, 100).await;
                ack(&inbound, &got).await;
                (got.len(), inbound)
            }));
        }
        // All of them wait before something is published.
        tokio::task::yield_now().await;
        bus.publish((0..100).map(|n| message("a", &n.to_string())).collect())
            .await;
        let mut shares = Vec::new();
        for member in members {
            shares.push(member.await.unwrap());
        }
        let shares: Vec<_> = shares.iter().map(|(share, _)| *share).collect();
        assert_eq!(shares, [25; 4]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_hands_its_wake_on() {
    within(async {
        let bus = MemoryBus::new();
        let mut first = bus.subscribe(group("mail", "a")).await.unwrap();
        let mut second = bus.subscribe(group("mail", "a")).await.unwrap();
        let mut waiting = Box::pin(deliveries(&mut first, 10));
        assert!(futures_poll(&mut waiting).await);
        let other = tokio::spawn(async move { bodies(&deliveries(&mut second, 10).await) });
        tokio::task::yield_now().await;
        // The first one is woken, and gives up without having looked.
        bus.publish(vec![message("a", "1")]).await;
        drop(waiting);
        assert_eq!(other.await.unwrap(), ["1"]);
    })
    .await;
}

/// Polls once; says whether the future waits.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_requeue_rests_while_others_flow() {
    within(async {
        let bus = MemoryBus::new();
        let mut inbound = bus.subscribe(group("mail", "a")).await.unwrap();
        bus.publish(vec![message("a", "1"), message("a", "2")])
            .await;
        let got = deliveries(&mut inbound, 1).await;
        let (before, after) = (Instant::now(), Duration::from_secs(5));
        let record = AttemptRecord::default().failed(bus_api::clock::now());
        settle(&inbound, &got[0], requeue(after, Some(record))).await;
        let other = deliveries(&mut inbound, 10).await;
        assert_eq!(bodies(&other), ["2"]);
        ack(&inbound, &other).await;
        let again = deliveries(&mut inbound, 10).await;
        assert_eq!(before.elapsed(), after);
        assert_eq!((body(&again[0]).as_str(), again[0].delivery), ("1", 2));
        assert!(again[0].redelivered);
        let stored = AttemptRecord::decode(again[0].record.as_ref().unwrap()).unwrap();
        assert_eq!(stored.failures, 1);
        // The old receipt is worth nothing.
        let late = inbound
            .settler
            .settle(vec![(got[0].receipt, Settlement::Ack)])
            .await;
        assert_eq!(late[0].as_ref().unwrap_err().kind(), ErrorKind::Fenced);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn somebody_who_waits_watches_the_delay() {
    within(async {
        let bus = MemoryBus::new();
        let mut first = bus.subscribe(group("mail", "a")).await.unwrap();
        let mut second = bus.subscribe(group("mail", "a")).await.unwrap();
        bus.publish(vec![message("a", "1")]).await;
        let got = deliveries(&mut first, 1).await;
        let other = tokio::spawn(async move { bodies(&deliveries(&mut second, 10).await) });
        tokio::task::yield_now().await;
        let before = Instant::now();
        settle(&first, &got[0], requeue(Duration::from_secs(2), None)).await;
        assert_eq!(other.await.unwrap(), ["1"]);
        assert_eq!(before.elapsed(), Duration::from_secs(2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_release_is_no_redelivery_and_keeps_the_place() {
    within(async {
        let bus = MemoryBus::new();
        let mut inbound = bus.subscribe(group("mail", "a")).await.unwrap();
        let batch = (1..=3).map(|n| message("a", &n.to_string())).collect();
        bus.publish(batch).await;
        let got = deliveries(&mut inbound, 2).await;
        let record = AttemptRecord {
            started: true,
            failures: 1,
            ..AttemptRecord::default()
        };
        inbound.settler.mark(vec![(got[1].receipt, record)]).await[0]
            .as_ref()
            .unwrap();
        settle(&inbound, &got[1], Settlement::Release).await;
        settle(&inbound, &got[0], Settlement::Release).await;
        let again = deliveries(&mut inbound, 10).await;
        assert_eq!(bodies(&again), ["1", "2", "3"]);
        assert!(again.iter().all(|one| !one.redelivered));
        assert_eq!((again[0].delivery, again[2].delivery), (2, 1));
        let stored = AttemptRecord::decode(again[1].record.as_ref().unwrap()).unwrap();
        assert_eq!((stored.failures, stored.started), (1, false));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_member_held_comes_back_after_the_lease() {
    within(async {
        let bus = MemoryBus::new();
        let dead = bus.connect();
        let mut first = dead.subscribe(group("mail", "a")).await.unwrap();
        let mut second = bus.subscribe(group("mail", "a")).await.unwrap();
        bus.publish(vec![message("a", "1")]).await;
        let held = deliveries(&mut first, 10).await;
        let before = Instant::now();
        dead.kill();
        let got = deliveries(&mut second, 10).await;
        assert_eq!((before.elapsed(), body(&got[0]).as_str()), (LEASE, "1"));
        assert!(got[0].redelivered);
        let late = first
            .settler
            .settle(vec![(held[0].receipt, Settlement::Ack)])
            .await;
        assert_eq!(late[0].as_ref().unwrap_err().kind(), ErrorKind::Closed);
        let error = first.receiver.receive(1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert_eq!(
            dead.publish(vec![message("a", "2")]).await[0]
                .as_ref()
                .unwrap_err()
                .kind(),
            ErrorKind::Closed
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_waited_alone_hears_of_a_death_beside_it() {
    within(async {
        let bus = MemoryBus::new();
        let mut first = bus.subscribe(group("mail", "a")).await.unwrap();
        let waiting = tokio::spawn(async move { bodies(&deliveries(&mut first, 10).await) });
        tokio::task::yield_now().await;
        let dead = bus.connect();
        let mut second = dead.subscribe(group("mail", "a")).await.unwrap();
        // The longest waiter is woken for the first message; the second one takes it before.
        bus.publish(vec![message("a", "1")]).await;
        let held = deliveries(&mut second, 10).await;
        assert_eq!(bodies(&held), ["1"]);
        dead.kill();
        assert_eq!(waiting.await.unwrap(), ["1"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_extended_does_not_end_and_one_that_ended_is_told() {
    within(async {
        let bus = MemoryBus::new();
        let mut first = bus.subscribe(group("mail", "a")).await.unwrap();
        let mut second = bus.subscribe(group("mail", "a")).await.unwrap();
        bus.publish(vec![message("a", "1")]).await;
        let held = deliveries(&mut first, 10).await;
        let other = tokio::spawn(async move { deliveries(&mut second, 10).await });
        for _ in 0..9 {
            tokio::time::sleep(LEASE / 3).await;
            first.settler.extend(&[held[0].receipt]).await[0]
                .as_ref()
                .unwrap();
        }
        assert!(!other.is_finished());
        let got = other.await.unwrap();
        assert_eq!((body(&got[0]).as_str(), got[0].delivery), ("1", 2));
        let Inflow::Lost(lost) = first.receiver.receive(1).await.unwrap() else {
            panic!("not told");
        };
        assert_eq!(lost, [held[0].receipt]);
        let fenced = first.settler.extend(&lost).await;
        assert_eq!(fenced[0].as_ref().unwrap_err().kind(), ErrorKind::Fenced);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn leaving_hands_everything_back_at_once() {
    within(async {
        let bus = MemoryBus::new();
        let mut first = bus.subscribe(group("mail", "a")).await.unwrap();
        let mut second = bus.subscribe(group("mail", "a")).await.unwrap();
        bus.publish(vec![message("a", "1"), message("a", "2")])
            .await;
        deliveries(&mut first, 10).await;
        let before = Instant::now();
        first.settler.leave(before + LEASE).await.unwrap();
        first.settler.leave(before + LEASE).await.unwrap();
        assert_eq!(bodies(&deliveries(&mut second, 10).await), ["1", "2"]);
        assert_eq!(before.elapsed(), Duration::ZERO);
        let error = first.receiver.receive(1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_key_is_at_one_member_at_a_time_in_order() {
    within(async {
        let bus = MemoryBus::new();
        let spec = ordered(group("ci", "a"));
        let mut first = bus.subscribe(spec.clone()).await.unwrap();
        let mut second = bus.subscribe(spec).await.unwrap();
        let batch = vec![
            keyed("a", "x", "x1"),
            keyed("a", "x", "x2"),
            keyed("a", "y", "y1"),
            message("a", "free"),
            keyed("a", "x", "x3"),
        ];
        bus.publish(batch).await;
        let got = deliveries(&mut first, 10).await;
        assert_eq!(bodies(&got), ["x1", "y1", "free"]);
        nothing(&mut second).await;
        // A failure that rests keeps the key.
        settle(&first, &got[0], requeue(Duration::from_secs(8), None)).await;
        nothing(&mut second).await;
        let again = deliveries(&mut second, 10).await;
        assert_eq!(bodies(&again), ["x1"]);
        // A hand-back keeps its place as well.
        settle(&second, &again[0], Settlement::Release).await;
        let again = deliveries(&mut first, 10).await;
        assert_eq!(bodies(&again), ["x1"]);
        ack(&first, &again).await;
        assert_eq!(bodies(&deliveries(&mut second, 10).await), ["x2"]);
        second.settler.leave(Instant::now()).await.unwrap();
        let next = deliveries(&mut first, 10).await;
        assert_eq!(bodies(&next), ["x2"]);
        ack(&first, &next).await;
        assert_eq!(bodies(&deliveries(&mut first, 10).await), ["x3"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn starts_are_resolved_once() {
    within(async {
        let bus = MemoryBus::new();
        let first = bus
            .publish(vec![message("a", "1"), message("b", "1b")])
            .await;
        tokio::time::advance(Duration::from_secs(10)).await;
        let time = bus_api::clock::now();
        let second = bus
            .publish(vec![message("a", "2"), message("b", "2b")])
            .await;
        bus.publish(vec![message("a", "3")]).await;
        let position = |index: usize| {
            let published = second[index].as_ref().unwrap();
            Start::Position(published.position.clone().unwrap())
        };
        let _ = &first;
        for (name, start, expected) in [
            ("earliest", Start::Earliest, vec!["1", "1b", "2", "2b", "3"]),
            ("latest", Start::Latest, vec![]),
            ("time", Start::Time(time), vec!["2", "2b", "3"]),
            ("position", position(0), vec!["2", "2b", "3"]),
            ("later", position(1), vec!["2", "2b", "3"]),
        ] {
            let mut inbound = bus
                .subscribe(starting(group(name, ">"), start))
                .await
                .unwrap();
            if expected.is_empty() {
                nothing(&mut inbound).await;
            } else {
                assert_eq!(
                    bodies(&deliveries(&mut inbound, 10).await),
                    expected,
                    "{name}"
                );
            }
        }
        let elsewhere = MemoryBus::new();
        elsewhere.publish(vec![message("a", "1")]).await;
        let unknown = elsewhere
            .subscribe(starting(group("g", ">"), position(0)))
            .await;
        assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(elsewhere.admin().subscriptions().await.unwrap().is_empty());
        // A start in the future skips what is stored before.
        let future = time + Duration::from_secs(60);
        let mut inbound = bus
            .subscribe(starting(group("future", ">"), Start::Time(future)))
            .await
            .unwrap();
        bus.publish(vec![message("a", "early")]).await;
        tokio::time::advance(Duration::from_secs(60)).await;
        bus.publish(vec![message("a", "late")]).await;
        assert_eq!(bodies(&deliveries(&mut inbound, 10).await), ["late"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_work_is_refused_on_joining() {
    within(async {
        let bus = MemoryBus::new();
        let short = SubscriptionSpec {
            lease: Duration::from_millis(9),
            ..group("g", "a")
        };
        assert_eq!(
            bus.subscribe(short).await.unwrap_err().kind(),
            ErrorKind::InvalidConfig
        );
        let endless = SubscriptionSpec {
            lease: Duration::MAX,
            ..group("g", "a")
        };
        let mut inbound = bus.subscribe(endless).await.unwrap();
        bus.publish(vec![message("a", "1")]).await;
        let got = deliveries(&mut inbound, 1).await;
        settle(&inbound, &got[0], requeue(Duration::MAX, None)).await;
        assert!(matches!(group("g", "a").scope, Scope::Group(_)));
        assert_eq!(
            bus.admin().subscriptions().await.unwrap()[0].id,
            id("g", "a")
        );
    })
    .await;
}
