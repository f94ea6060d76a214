//! The semantics of the adapter, through the trait alone.

mod common;

use std::time::Duration;

use bus_api::{Bus, Inflow, Settlement};
use bus_memory::MemoryBus;
use common::{ack, body, deliveries, group, message, within};

#[tokio::test(start_paused = true)]
async fn what_is_published_is_received_and_acked() {
    within(async {
        let bus = MemoryBus::new();
        let mut inbound = bus.subscribe(group("mail", "orders.>")).await.unwrap();
        for result in bus
            .publish(vec![
                message("orders.placed", "a"),
                message("users.new", "b"),
                message("orders.paid", "c"),
            ])
            .await
        {
            result.unwrap();
        }
        let got = deliveries(&mut inbound, 10).await;
        assert_eq!(got.iter().map(body).collect::<Vec<_>>(), ["a", "c"]);
        assert!(
            got.iter()
                .all(|delivery| delivery.delivery == 1 && !delivery.redelivered)
        );
        ack(&inbound, &got).await;
        bus.settled().await;
        let info = &bus.admin().subscriptions().await.unwrap()[0];
        assert_eq!((info.lag, info.pending, info.members), (0, 0, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_requeue_rests_and_comes_again() {
    within(async {
        let bus = MemoryBus::new();
        let mut inbound = bus.subscribe(group("mail", "a")).await.unwrap();
        bus.publish(vec![message("a", "1"), message("a", "2")])
            .await;
        let got = deliveries(&mut inbound, 1).await;
        let before = tokio::time::Instant::now();
        let after = Duration::from_secs(5);
        let settlement = Settlement::Requeue {
            after,
            record: None,
        };
        inbound
            .settler
            .settle(vec![(got[0].receipt, settlement)])
            .await[0]
            .as_ref()
            .unwrap();
        let other = deliveries(&mut inbound, 10).await;
        assert_eq!(other.iter().map(body).collect::<Vec<_>>(), ["2"]);
        ack(&inbound, &other).await;
        let again = deliveries(&mut inbound, 10).await;
        assert!(before.elapsed() >= after);
        assert_eq!(
            (
                body(&again[0]).as_str(),
                again[0].delivery,
                again[0].redelivered
            ),
            ("1", 2, true)
        );
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
        dead.kill();
        let before = tokio::time::Instant::now();
        let got = deliveries(&mut second, 10).await;
        assert_eq!(body(&got[0]), "1");
        assert!(before.elapsed() >= Duration::from_secs(29), "{:?}", before.elapsed());
        let late = first.settler.settle(vec![(held[0].receipt, Settlement::Ack)]).await;
        assert!(late[0].is_err());
        assert!(matches!(first.receiver.receive(1).await, Err(error) if error.kind() == bus_api::ErrorKind::Closed));
        let _ = Inflow::Lost(Vec::new());
    })
    .await;
}
