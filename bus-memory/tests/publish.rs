//! Storing: positions, dedup, sizes, retention, namespaces, names.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bus_api::{
    Bus, BusUrl, ErrorKind, HealthStatus, Message, Namespace, Notice, Retention, RetentionMode,
    Settings, WhenFull,
};
use bus_memory::{Broker, Config, MemoryBus};
use bytes::Bytes;
use common::{ack, bare, bodies, deliveries, group, message, topic, within};

fn open(url: &str) -> MemoryBus {
    let mut url: BusUrl = url.parse().unwrap();
    let settings = Settings::take(url.options_mut()).unwrap();
    MemoryBus::open(url, settings).unwrap()
}

fn retaining(retention: Retention) -> MemoryBus {
    let settings = Settings {
        retention,
        ..Settings::default()
    };
    MemoryBus::with(Config {
        settings,
        ..Config::default()
    })
}

fn once(topic: &str, dedup_id: &str) -> Arc<Message> {
    Arc::new(Message {
        dedup_id: Some(dedup_id.into()),
        ..bare(topic, dedup_id)
    })
}

#[tokio::test(start_paused = true)]
async fn a_second_message_of_a_dedup_id_is_not_stored_within_the_window() {
    within(async {
        let bus = open("memory://?dedup_window=10s");
        let first = bus
            .publish(vec![once("a", "x"), once("a", "x"), once("b", "x")])
            .await;
        let first: Vec<_> = first.into_iter().map(Result::unwrap).collect();
        let duplicates: Vec<_> = first.iter().map(|one| one.duplicate).collect();
        assert_eq!(duplicates, [false, true, false]);
        assert_eq!(first[0].position, first[1].position);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(
            bus.publish(vec![once("a", "x")]).await[0]
                .as_ref()
                .unwrap()
                .duplicate
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(
            !bus.publish(vec![once("a", "x")]).await[0]
                .as_ref()
                .unwrap()
                .duplicate
        );
        assert_eq!(bus.published().len(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_bad_message_fails_alone() {
    within(async {
        let bus = open("memory://?max_payload=4");
        assert_eq!(bus.capabilities().max_payload, 4);
        let results = bus
            .publish(vec![
                message("a", "1234"),
                message("a", "12345"),
                message("a", ""),
            ])
            .await;
        assert!(results[0].is_ok() && results[2].is_ok());
        let error = results[1].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(!error.is_indeterminate());
        assert_eq!(bus.published().len(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_full_namespace_rejects_and_names_the_key() {
    within(async {
        for (retention, key) in [
            (
                Retention {
                    count: Some(2),
                    ..Retention::default()
                },
                "`retention.count`",
            ),
            (
                Retention {
                    bytes: Some(5),
                    ..Retention::default()
                },
                "`retention.bytes`",
            ),
        ] {
            let bus = retaining(retention);
            let batch = (0..3).map(|_| message("a", "ab")).collect();
            let results = bus.publish(batch).await;
            assert!(results[0].is_ok() && results[1].is_ok());
            let error = results[2].as_ref().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Throttled);
            assert!(error.to_string().contains(key), "{error}");
            assert!(!error.is_indeterminate() && error.is_retryable());
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_oldest_are_dropped_and_counted() {
    within(async {
        let retention = Retention {
            count: Some(3),
            when_full: WhenFull::DropOldest,
            ..Retention::default()
        };
        let bus = retaining(retention);
        let mut notices = bus.notices().listen();
        let mut inbound = bus.subscribe(group("g", "a")).await.unwrap();
        bus.publish(vec![
            message("a", "1"),
            message("b", "-"),
            message("a", "2"),
        ])
        .await;
        let got = deliveries(&mut inbound, 1).await;
        ack(&inbound, &got).await;
        bus.publish((3..=6).map(|n| message("a", &n.to_string())).collect())
            .await;
        // 1 was settled, - concerns nobody; 2 and 3 were not settled.
        let info = bus.admin().subscriptions().await.unwrap().remove(0);
        assert_eq!((info.dropped, info.lag), (2, 3));
        let notice = notices.recv().await.unwrap();
        let expected = Notice::Dropped {
            subscription: info.id,
            messages: 2,
        };
        assert_eq!(notice, expected);
        let health = bus.admin().health().await;
        assert_eq!(health.status, HealthStatus::Degraded);
        assert_eq!(bodies(&deliveries(&mut inbound, 10).await), ["4", "5", "6"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn old_messages_go_settled_or_not() {
    within(async {
        let bus = open("memory://?retention.age=1m");
        let mut inbound = bus.subscribe(group("g", "a")).await.unwrap();
        bus.publish(vec![message("a", "1")]).await;
        tokio::time::advance(Duration::from_secs(59)).await;
        bus.publish(vec![message("a", "2")]).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(bodies(&deliveries(&mut inbound, 10).await), ["2"]);
        let info = bus.admin().subscriptions().await.unwrap().remove(0);
        assert_eq!((info.dropped, info.lag, info.pending), (1, 1, 1));
        assert_eq!(bus.admin().topics().await.unwrap()[0].messages, Some(1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn settled_retention_removes_what_every_subscription_has_settled() {
    within(async {
        let bus = retaining(Retention {
            mode: RetentionMode::Settled,
            ..Retention::default()
        });
        let mut first = bus.subscribe(group("g", "a")).await.unwrap();
        let mut second = bus.subscribe(group("h", ">")).await.unwrap();
        bus.publish(vec![message("a", "1"), message("a", "2")])
            .await;
        let got = deliveries(&mut first, 10).await;
        ack(&first, &got).await;
        assert_eq!(bus.published().len(), 2);
        let got = deliveries(&mut second, 10).await;
        ack(&second, &got[..1]).await;
        assert_eq!(bus.published().len(), 1);
        bus.admin()
            .delete(&common::id("h", ">"), true)
            .await
            .unwrap();
        assert_eq!(bus.published().len(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_and_settled_messages_make_room_first() {
    within(async {
        let bus = open("memory://?memory_limit=1MiB");
        let payload = Bytes::from(vec![0; 10_000]);
        let big = || {
            Arc::new(Message {
                payload: payload.clone(),
                ..bare("a", "")
            })
        };
        // Nobody wants them: any number goes through.
        for _ in 0..500 {
            bus.publish(vec![big()]).await.remove(0).unwrap();
        }
        assert!(bus.published().len() < 105);
        let mut inbound = bus.subscribe(group("g", "a")).await.unwrap();
        let mut stored = 0;
        let error = loop {
            match bus.publish(vec![big()]).await.remove(0) {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
        };
        assert!(stored > 80, "{stored}");
        assert_eq!(error.kind(), ErrorKind::Throttled);
        assert!(error.to_string().contains("`memory_limit`"), "{error}");
        // Small ones go through until there is no room for any.
        while bus.publish(vec![message("a", "")]).await[0].is_ok() {}
        assert!(!bus.admin().health().await.writable);
        let got = deliveries(&mut inbound, 50).await;
        ack(&inbound, &got).await;
        bus.publish(vec![big()]).await.remove(0).unwrap();
        assert!(bus.admin().health().await.writable);
        let info = bus.admin().subscriptions().await.unwrap().remove(0);
        assert_eq!(info.dropped, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn names_share_and_namespaces_do_not() {
    within(async {
        let shop = open("memory://publish-test");
        let again = open("memory://publish-test");
        let private = open("memory://");
        let other = open("memory://publish-test?namespace=other");
        shop.publish(vec![message("a", "1")]).await;
        assert_eq!(again.published().len(), 1);
        assert!(private.published().is_empty() && other.published().is_empty());
        assert_eq!(
            shop.broker().namespaces(),
            [Namespace::default(), Namespace::new("other").unwrap()]
        );
        assert!(Broker::forget("publish-test"));
        assert!(open("memory://publish-test").published().is_empty());
        assert!(Broker::forget("publish-test"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_made_without_the_right_to() {
    within(async {
        let bus = open("memory://?provision=verify");
        let results = bus.publish(vec![message("a", "1")]).await;
        assert_eq!(results[0].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
        let error = bus.subscribe(group("g", "a")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let creating = MemoryBus::on(bus.broker().clone(), Config::default());
        creating.admin().add_topic(&topic("a")).await.unwrap();
        creating.subscribe(group("g", "a")).await.unwrap();
        bus.publish(vec![message("a", "1")])
            .await
            .remove(0)
            .unwrap();
        bus.subscribe(group("g", "a")).await.unwrap();
    })
    .await;
}
