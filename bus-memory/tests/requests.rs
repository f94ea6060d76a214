//! Requests and replies.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bus_api::{
    Bus, ErrorKind, Group, IncomingRequest, Namespace, Pattern, ReplyTo, Requests, ResponderSpec,
};
use bus_memory::MemoryBus;
use common::{bare, broadcast, nothing, within};
use tokio::time::Instant;

fn responder(group: &str, pattern: &str) -> ResponderSpec {
    ResponderSpec {
        group: Group::new(group).unwrap(),
        pattern: Pattern::new(pattern).unwrap(),
        max_in_flight: 10,
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// Borrows nothing while it waits, because a receiver cannot be shared.
fn answer(
    requests: &Requests,
    incoming: &IncomingRequest,
    text: &str,
) -> impl Future<Output = ()> + use<> {
    let replier = Arc::clone(&requests.replier);
    let batch = vec![(incoming.reply_to.clone(), bare("reply", text))];
    async move { replier.reply(batch).await.remove(0).unwrap() }
}

#[tokio::test(start_paused = true)]
async fn each_requester_gets_its_own_reply() {
    within(async {
        let bus = MemoryBus::new();
        let mut watcher = bus.subscribe(broadcast(">")).await.unwrap();
        for _ in 0..3 {
            let mut requests = bus.respond(responder("prices", "price.*")).await.unwrap();
            tokio::spawn(async move {
                while let Ok(batch) = requests.receiver.receive(7).await {
                    for incoming in batch {
                        let text = format!("re {:?}", incoming.message.payload);
                        answer(&requests, &incoming, &text).await;
                    }
                }
            });
        }
        let asked: Vec<_> = (0..1000)
            .map(|n| {
                let bus = bus.clone();
                tokio::spawn(async move {
                    let request = bare("price.a", &n.to_string());
                    let expected = format!("re {:?}", request.payload);
                    let reply = bus.request(request, soon()).await.unwrap();
                    assert_eq!(reply.payload, expected);
                })
            })
            .collect();
        for asked in asked {
            asked.await.unwrap();
        }
        // A request is no message of a topic.
        assert!(bus.published().is_empty());
        nothing(&mut watcher).await;
        bus.settled().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_responder_of_each_group_gets_it_and_the_first_reply_wins() {
    within(async {
        let bus = MemoryBus::new();
        let mut all = Vec::new();
        for (group, pattern) in [("a", "x"), ("a", "x"), ("a", ">"), ("b", "*")] {
            all.push(bus.respond(responder(group, pattern)).await.unwrap());
        }
        let asking = tokio::spawn({
            let bus = bus.clone();
            async move { bus.request(bare("x", "q"), soon()).await.unwrap() }
        });
        tokio::task::yield_now().await;
        let mut got = Vec::new();
        for (index, requests) in all.iter_mut().enumerate() {
            let receive = requests.receiver.receive(10);
            if let Ok(batch) = tokio::time::timeout(Duration::from_secs(1), receive).await {
                got.push((index, batch.unwrap().remove(0)));
            }
        }
        assert_eq!(got.len(), 2);
        assert!(got[0].0 < 3 && got[1].0 == 3);
        answer(&all[got[1].0], &got[1].1, "first").await;
        answer(&all[got[0].0], &got[0].1, "late").await;
        assert_eq!(asking.await.unwrap().payload, "first");
        assert_eq!(bus.leftovers().len(), 4);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_and_nothing_in_time_are_told_apart() {
    within(async {
        let bus = MemoryBus::new();
        let before = Instant::now();
        let error = bus.request(bare("x", "q"), soon()).await.unwrap_err();
        assert_eq!(
            (error.kind(), before.elapsed()),
            (ErrorKind::NoResponders, Duration::ZERO)
        );
        let mut requests = bus.respond(responder("a", "x")).await.unwrap();
        let deadline = soon();
        let error = bus.request(bare("x", "q"), deadline).await.unwrap_err();
        assert_eq!(
            (error.kind(), Instant::now()),
            (ErrorKind::Timeout, deadline)
        );
        // It is never handed over after its deadline, and leaves nothing behind.
        let late = tokio::time::timeout(Duration::from_secs(1), requests.receiver.receive(1)).await;
        assert!(late.is_err());
        assert_eq!(bus.leftovers(), ["responder"]);
        let past = bus.request(bare("x", "q"), deadline).await.unwrap_err();
        assert_eq!(past.kind(), ErrorKind::Timeout);
        // The last responder leaves before it took the request.
        let asking = tokio::spawn({
            let bus = bus.clone();
            async move { bus.request(bare("x", "q"), soon()).await.unwrap_err() }
        });
        tokio::task::yield_now().await;
        requests.replier.leave(soon()).await.unwrap();
        assert_eq!(asking.await.unwrap().kind(), ErrorKind::NoResponders);
        let error = requests.receiver.receive(1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_forged_address_gets_nothing() {
    within(async {
        let bus = MemoryBus::new();
        let mut requests = bus.respond(responder("a", "x")).await.unwrap();
        let responding = tokio::spawn(async move {
            let mut kinds = HashSet::new();
            for _ in 0..3 {
                let incoming = requests.receiver.receive(1).await.unwrap().remove(0);
                let batch = vec![(incoming.reply_to, bare("reply", "secret"))];
                let error = requests.replier.reply(batch).await.remove(0).unwrap_err();
                kinds.insert(error.kind());
            }
            kinds
        });
        let other = format!("_reply.other.{}", "0".repeat(32));
        for address in ["orders.placed", "_reply.bus.short", &other] {
            let answered = bus
                .broker()
                .forge_request(
                    &Namespace::default(),
                    bare("x", "q"),
                    ReplyTo::new(address),
                    Duration::from_secs(1),
                )
                .await
                .unwrap();
            assert!(!answered, "{address}");
        }
        let kinds = responding.await.unwrap();
        assert_eq!(kinds, HashSet::from([ErrorKind::InvalidArgument]));
        let health = bus.admin().health().await;
        assert_eq!(health.details["refused_replies"], "3");
    })
    .await;
}
