//! Dead letters, administration, and what happens when things break.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bus_api::{
    AttemptRecord, Bus, DeadLetter, DeadLetterId, DeadLetterStore, Delivery, ErrorKind, Failure,
    Group, Headers, HealthStatus, Inflow, Namespace, Notice, Origin, Settlement, Start,
};
use bus_memory::{Foreign, MemoryBus};
use bytes::Bytes;
use common::{ack, bodies, body, deliveries, group, id, message, nothing, settle, topic, within};
use tokio::time::Instant;

fn dead_letter(delivery: &Delivery) -> Box<DeadLetter> {
    let subscription = id("g", ">");
    let origin = Origin {
        position: delivery.position.clone(),
        stored_at: delivery.position.stored_at(),
    };
    let message = &delivery.message;
    let now = bus_api::clock::now();
    Box::new(DeadLetter {
        id: DeadLetterId::derive(
            &subscription,
            message.topic.as_str(),
            &message.metadata.id,
            &origin,
            0,
        ),
        subscription,
        message: Arc::clone(message),
        origin,
        generation: 0,
        attempts: 1,
        error: Failure::new(Failure::HANDLER, "no"),
        first_failure: now,
        last_failure: now,
    })
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_written_once_and_paged_while_some_go() {
    within(async {
        let bus = MemoryBus::new();
        let (store, g): (&dyn DeadLetterStore, _) = (bus.dead_letters(), Group::new("g").unwrap());
        let mut inbound = bus.subscribe(group("g", ">")).await.unwrap();
        bus.publish((0..5).map(|n| message("a", &n.to_string())).collect())
            .await;
        let got = deliveries(&mut inbound, 10).await;
        for delivery in &got {
            settle(
                &inbound,
                delivery,
                Settlement::DeadLetter(dead_letter(delivery)),
            )
            .await;
        }
        bus.settled().await;
        assert_eq!(store.groups().await.unwrap(), std::slice::from_ref(&g));
        assert_eq!(store.count(&g).await.unwrap(), 5);
        let page = store.page(&g, None, 2).await.unwrap();
        assert_eq!(page.entries.len(), 2);
        let ids: Vec<_> = got.iter().map(|one| dead_letter(one).id).collect();
        assert_eq!(store.remove(&g, &ids[1..3]).await.unwrap(), 2);
        assert_eq!(store.remove(&g, &ids[1..3]).await.unwrap(), 0);
        let page = store.page(&g, page.next.as_ref(), 2).await.unwrap();
        let texts: Vec<_> = page
            .entries
            .iter()
            .map(|one| one.message.payload.clone())
            .collect();
        assert_eq!(texts, ["3", "4"]);
        assert!(page.next.is_none());
        assert_eq!(store.get(&g, ids[0]).await.unwrap().unwrap().id, ids[0]);
        assert!(store.get(&g, ids[1]).await.unwrap().is_none());
        // The same failure again, as after a crash between writing and settling.
        bus.admin()
            .reset(&id("g", ">"), &Start::Earliest, true)
            .await
            .unwrap();
        let again = deliveries(&mut inbound, 1).await;
        settle(
            &inbound,
            &again[0],
            Settlement::DeadLetter(dead_letter(&again[0])),
        )
        .await;
        assert_eq!(store.count(&g).await.unwrap(), 3);
        let wrong = bus_api::Cursor("x".into());
        assert_eq!(
            store.page(&g, Some(&wrong), 1).await.unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_live_subscription_is_reset_and_deleted_only_by_force() {
    within(async {
        let bus = MemoryBus::new();
        let admin = bus.admin();
        let mut inbound = bus.subscribe(group("g", "a")).await.unwrap();
        bus.publish(vec![message("a", "1"), message("a", "2")])
            .await;
        let held = deliveries(&mut inbound, 1).await;
        let g = id("g", "a");
        let refused = admin.reset(&g, &Start::Earliest, false).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        admin.reset(&g, &Start::Earliest, true).await.unwrap();
        let late = inbound
            .settler
            .settle(vec![(held[0].receipt, Settlement::Ack)])
            .await;
        assert_eq!(late[0].as_ref().unwrap_err().kind(), ErrorKind::Fenced);
        let Inflow::Lost(lost) = inbound.receiver.receive(1).await.unwrap() else {
            panic!("not told");
        };
        assert_eq!(lost, [held[0].receipt]);
        assert_eq!(bodies(&deliveries(&mut inbound, 10).await), ["1", "2"]);
        let refused = admin.delete(&g, false).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        admin.delete(&g, true).await.unwrap();
        let ended = inbound.receiver.receive(1).await.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::NotFound);
        assert!(admin.subscriptions().await.unwrap().is_empty());
        let gone = admin.reset(&g, &Start::Latest, true).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn everything_but_the_connection_survives_a_restart() {
    within(async {
        let bus = MemoryBus::new();
        let mut notices = bus.notices().listen();
        let mut inbound = bus.subscribe(group("g", "a")).await.unwrap();
        bus.publish(vec![
            message("a", "1"),
            message("a", "2"),
            message("a", "3"),
        ])
        .await;
        let got = deliveries(&mut inbound, 2).await;
        let record = AttemptRecord::default().failed(bus_api::clock::now());
        let after = Duration::from_secs(60);
        settle(
            &inbound,
            &got[0],
            Settlement::Requeue {
                after,
                record: Some(record),
            },
        )
        .await;
        bus.broker().stop();
        assert_eq!(notices.recv().await.unwrap(), Notice::Disconnected);
        let error = bus
            .publish(vec![message("a", "4")])
            .await
            .remove(0)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(!error.is_indeterminate());
        assert_eq!(bus.admin().health().await.status, HealthStatus::Down);
        nothing(&mut inbound).await;
        // A settlement waits for the broker.
        let settler = Arc::clone(&inbound.settler);
        let receipt = got[1].receipt;
        let acking =
            tokio::spawn(async move { settler.settle(vec![(receipt, Settlement::Ack)]).await });
        tokio::task::yield_now().await;
        assert!(!acking.is_finished());
        bus.broker().start();
        assert_eq!(notices.recv().await.unwrap(), Notice::Reconnected);
        acking.await.unwrap().remove(0).unwrap();
        let third = deliveries(&mut inbound, 10).await;
        assert_eq!(bodies(&third), ["3"]);
        ack(&inbound, &third).await;
        let first = deliveries(&mut inbound, 10).await;
        assert_eq!(body(&first[0]), "1");
        let stored = AttemptRecord::decode(first[0].record.as_ref().unwrap()).unwrap();
        assert_eq!(stored.failures, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_member_loses_its_leases_and_goes_on_later() {
    within(async {
        let (bus, other) = {
            let bus = MemoryBus::new();
            (bus.connect(), bus)
        };
        let mut first = bus.subscribe(group("g", "a")).await.unwrap();
        let mut second = other.subscribe(group("g", "a")).await.unwrap();
        let waiting = tokio::spawn(async move {
            let got = bodies(&deliveries(&mut second, 10).await);
            (second, got)
        });
        other.publish(vec![message("a", "1")]).await;
        let (mut second, got) = waiting.await.unwrap();
        assert_eq!(got, ["1"]);
        other.publish(vec![message("a", "2")]).await;
        let held = deliveries(&mut first, 10).await;
        bus.cut();
        let leaving = first
            .settler
            .leave(Instant::now() + Duration::from_secs(1))
            .await;
        assert_eq!(leaving.unwrap_err().kind(), ErrorKind::Timeout);
        let extended = first.settler.extend(&[held[0].receipt]).await;
        assert_eq!(
            extended[0].as_ref().unwrap_err().kind(),
            ErrorKind::Unavailable
        );
        tokio::time::sleep(Duration::from_secs(31)).await;
        let got = deliveries(&mut second, 10).await;
        assert_eq!(bodies(&got), ["1", "2"]);
        bus.heal();
        assert!(matches!(
            first.receiver.receive(1).await.unwrap(),
            Inflow::Lost(_)
        ));
        ack(&second, &got).await;
        other.publish(vec![message("a", "3")]).await;
        assert_eq!(bodies(&deliveries(&mut first, 10).await), ["3"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_log_starts_anew_and_is_reported() {
    within(async {
        let bus = MemoryBus::new();
        let mut notices = bus.notices().listen();
        let mut inbound = bus.subscribe(group("g", ">")).await.unwrap();
        let published = bus
            .publish(vec![
                message("a", "1"),
                message("b", "2"),
                message("a", "3"),
            ])
            .await;
        let old = published[0].as_ref().unwrap().position.clone().unwrap();
        let held = deliveries(&mut inbound, 1).await;
        assert!(
            bus.broker()
                .lose_log(&Namespace::default(), &topic("a"))
                .unwrap()
        );
        let expected = Notice::LogLost {
            log: Arc::clone(old.log()),
        };
        assert_eq!(notices.recv().await.unwrap(), expected);
        let late = inbound
            .settler
            .settle(vec![(held[0].receipt, Settlement::Ack)])
            .await;
        assert_eq!(late[0].as_ref().unwrap_err().kind(), ErrorKind::Fenced);
        let info = bus.admin().subscriptions().await.unwrap().remove(0);
        assert_eq!((info.lag, info.dropped), (1, 0));
        let new = bus
            .publish(vec![message("a", "4")])
            .await
            .remove(0)
            .unwrap();
        assert_ne!(new.position.unwrap().log(), old.log());
        assert_eq!(bodies(&deliveries(&mut inbound, 10).await), ["2", "4"]);
        let mut spec = group("h", ">");
        spec.start = Start::Position(old);
        assert_eq!(
            bus.subscribe(spec).await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_subscription_is_recreated_where_its_members_were() {
    within(async {
        let bus = MemoryBus::new();
        let mut notices = bus.notices().listen();
        let mut inbound = bus.subscribe(group("g", "a")).await.unwrap();
        bus.publish((1..=4).map(|n| message("a", &n.to_string())).collect())
            .await;
        let got = deliveries(&mut inbound, 3).await;
        ack(&inbound, &[got[0].clone(), got[2].clone()]).await;
        let g = id("g", "a");
        assert!(
            bus.broker()
                .lose_subscription(&Namespace::default(), &g)
                .unwrap()
        );
        let expected = Notice::SubscriptionRecreated {
            subscription: g.clone(),
        };
        assert_eq!(notices.recv().await.unwrap(), expected);
        let again = deliveries(&mut inbound, 10).await;
        assert_eq!(bodies(&again), ["2", "3", "4"]);
        assert!(again.iter().all(|one| one.redelivered));
        ack(&inbound, &again).await;
        assert_eq!(
            bus.broker()
                .store_newer_records(&Namespace::default(), &g)
                .unwrap(),
            0
        );
        drop(inbound);
        assert!(
            bus.broker()
                .lose_subscription(&Namespace::default(), &g)
                .unwrap()
        );
        assert!(
            !bus.broker()
                .lose_subscription(&Namespace::default(), &g)
                .unwrap()
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn messages_of_other_producers_are_handed_on() {
    within(async {
        let bus = MemoryBus::new();
        let (broker, namespace) = (bus.broker(), Namespace::default());
        let mut inbound = bus.subscribe(group("g", "a")).await.unwrap();
        let mut headers = Headers::new();
        headers.set("X-Any", "1");
        let plain = Foreign::Plain {
            payload: Bytes::from_static(b"raw"),
            headers,
        };
        broker
            .publish_foreign(&namespace, &topic("a"), plain)
            .unwrap();
        let malformed = Foreign::Malformed {
            payload: Bytes::from_static(b"\xff"),
            reason: "no UTF-8".into(),
        };
        broker
            .publish_foreign(&namespace, &topic("a"), malformed)
            .unwrap();
        let got = deliveries(&mut inbound, 10).await;
        assert_eq!(body(&got[0]), "raw");
        assert_eq!(got[0].message.headers.get("X-Any"), Some("1"));
        assert_eq!(got[0].message.metadata.event_type, None);
        assert_eq!(got[0].malformed, None);
        assert_eq!(got[1].malformed.as_deref(), Some("no UTF-8"));
        assert_eq!(
            broker
                .store_newer_records(&namespace, &id("g", "a"))
                .unwrap(),
            2
        );
        settle(&inbound, &got[0], Settlement::Release).await;
        let again = deliveries(&mut inbound, 10).await;
        let error = AttemptRecord::decode(again[0].record.as_ref().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn closing_hands_back_and_ends_every_call() {
    within(async {
        let bus = MemoryBus::new();
        let other = bus.connect();
        let mut inbound = bus.subscribe(group("g", "a")).await.unwrap();
        bus.publish(vec![message("a", "1")]).await;
        deliveries(&mut inbound, 1).await;
        let waiting = tokio::spawn(async move { inbound.receiver.receive(1).await.unwrap_err() });
        tokio::task::yield_now().await;
        bus.close(Instant::now()).await.unwrap();
        bus.close(Instant::now()).await.unwrap();
        assert_eq!(waiting.await.unwrap().kind(), ErrorKind::Closed);
        let error = bus.subscribe(group("g", "a")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(other.leftovers().is_empty());
        let mut inbound = other.subscribe(group("g", "a")).await.unwrap();
        let before = Instant::now();
        assert_eq!(bodies(&deliveries(&mut inbound, 1).await), ["1"]);
        assert_eq!(before.elapsed(), Duration::ZERO);
    })
    .await;
}
