//! Broadcast subscribers.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use bus_api::{Bus, Start, SubscriptionSpec};
use bus_memory::MemoryBus;
use common::{ack, bodies, broadcast, deliveries, message, nothing, within};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn every_subscriber_gets_every_message_and_leaves_nothing_behind() {
    within(async {
        let bus = MemoryBus::new();
        bus.publish(vec![message("a", "0")]).await;
        let mut first = bus.subscribe(broadcast("a")).await.unwrap();
        let early = SubscriptionSpec {
            start: Start::Earliest,
            ..broadcast("a")
        };
        let mut second = bus.subscribe(early).await.unwrap();
        bus.publish(vec![message("a", "1"), message("a", "2")])
            .await;
        let got = deliveries(&mut first, 10).await;
        assert_eq!(bodies(&got), ["1", "2"]);
        // Settling means nothing here.
        ack(&first, &got).await;
        assert_eq!(bodies(&deliveries(&mut second, 1).await), ["0"]);
        assert_eq!(bodies(&deliveries(&mut second, 10).await), ["1", "2"]);
        nothing(&mut first).await;
        assert_eq!(bus.leftovers().len(), 2);
        first.settler.leave(Instant::now()).await.unwrap();
        drop(second);
        assert!(bus.leftovers().is_empty());
        assert!(bus.admin().subscriptions().await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_after_a_cut() {
    within(async {
        let bus = MemoryBus::new();
        let other = bus.connect();
        let mut inbound = bus.subscribe(broadcast("a")).await.unwrap();
        bus.cut();
        other.publish(vec![message("a", "1")]).await;
        nothing(&mut inbound).await;
        bus.heal();
        assert_eq!(bodies(&deliveries(&mut inbound, 10).await), ["1"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_payload_is_shared() {
    within(async {
        let bus = MemoryBus::new();
        let mut first = bus.subscribe(broadcast("a")).await.unwrap();
        let mut second = bus.subscribe(broadcast(">")).await.unwrap();
        bus.publish(vec![message("a", "1")]).await;
        let (one, two) = (
            deliveries(&mut first, 1).await,
            deliveries(&mut second, 1).await,
        );
        assert!(std::sync::Arc::ptr_eq(&one[0].message, &two[0].message));
    })
    .await;
}
