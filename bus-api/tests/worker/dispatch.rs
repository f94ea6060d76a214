//! Which handler gets a message.

use std::sync::Arc;

use bus_api::{Codecs, Connector, Envelope, Json, Metadata, Raw, Settings, State, Unknown};
use bus_memory::MemoryBus;
use serde::{Deserialize, Serialize};

use crate::support::*;

#[derive(Debug, PartialEq, Serialize, Deserialize, bus_derive::Event)]
#[event(crate = "bus_api")]
enum OrderEvent {
    #[event(type = "order.placed", topic = "orders.placed")]
    Placed(Placed),
    #[event(type = "order.cancelled", topic = "orders.cancelled")]
    Cancelled { id: u64 },
}

#[tokio::test(start_paused = true)]
async fn the_type_finds_the_handler_by_its_name_and_its_alias() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let _worker = bus
            .worker("mail")
            .state(noter)
            .pattern("orders.>")
            .on(async |e: Placed, State(n): State<Noter<String>>| {
                n.note(format!("placed {}", e.id));
            })
            .on(
                async |e: Envelope<Cancelled>, State(n): State<Noter<String>>| {
                    n.note(format!("cancelled {} at {}", e.event.id, e.topic));
                },
            )
            .start()
            .await
            .unwrap();
        bus.publish(&Placed { id: 1 }).await.unwrap();
        bus.publish(&raw("orders.old", Some("order.created"), r#"{"id":2}"#))
            .await
            .unwrap();
        bus.publish(&Cancelled { id: 3 }).await.unwrap();
        let mut seen = notes.take(3).await;
        seen.sort();
        assert_eq!(
            seen,
            ["cancelled 3 at orders.cancelled", "placed 1", "placed 2"]
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_enum_takes_all_its_types_on_the_topics_of_its_types() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let _worker = bus
            .worker("mail")
            .on(move |e: OrderEvent| {
                let noter = noter.clone();
                async move { noter.note(e) }
            })
            .start()
            .await
            .unwrap();
        bus.publish(&Cancelled { id: 3 }).await.unwrap();
        assert_eq!(notes.next().await, OrderEvent::Cancelled { id: 3 });
        bus.publish(&Placed { id: 4 }).await.unwrap();
        assert_eq!(notes.next().await, OrderEvent::Placed(Placed { id: 4 }));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_message_without_a_type_goes_to_the_only_handler_that_covers_its_topic() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let _worker = bus
            .worker("mail")
            .state(noter)
            .pattern("orders.>")
            .on(async |e: Placed, State(n): State<Noter<u64>>| n.note(e.id))
            .start()
            .await
            .unwrap();
        bus.publish(&raw("orders.placed", None, r#"{"id":5}"#))
            .await
            .unwrap();
        assert_eq!(notes.next().await, 5);
        settled(&bus, "mail").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_fallback_gets_what_no_other_handler_takes() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let _worker = bus
            .worker("mail")
            .state(noter)
            .pattern("orders.>")
            .on(async |_: Placed, _: State<Noter<String>>| {})
            .fallback(
                async |raw: Raw, m: Metadata, State(n): State<Noter<String>>| {
                    n.note(format!(
                        "{:?} {} {}",
                        m.event_type,
                        raw.topic,
                        raw.payload.len()
                    ));
                },
            )
            .start()
            .await
            .unwrap();
        bus.publish(&Placed { id: 1 }).await.unwrap();
        bus.publish(&raw("orders.other", Some("order.other"), "{}"))
            .await
            .unwrap();
        assert_eq!(notes.next().await, "Some(\"order.other\") orders.other 2");
        bus.publish(&raw("orders.none", None, "")).await.unwrap();
        assert_eq!(notes.next().await, "None orders.none 0");
        assert!(notes.none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn unknown_types_are_skipped_and_counted() {
    within(async {
        let bus = bus();
        let worker = bus
            .worker("mail")
            .pattern("orders.>")
            .on(async |_: Placed| {});
        let running = worker.start().await.unwrap();
        for _ in 0..3 {
            bus.publish(&Cancelled { id: 1 }).await.unwrap();
        }
        settled(&bus, "mail").await;
        let report = running.shutdown(secs(1)).await;
        assert_eq!((report.skipped, report.handled, report.failed), (3, 0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn unknown_types_are_dead_lettered_when_so_configured() {
    within(async {
        let bus = bus();
        let worker = bus
            .worker("mail")
            .pattern("orders.>")
            .on(async |_: Placed| {});
        let _running = worker.unknown(Unknown::DeadLetter).start().await.unwrap();
        bus.publish(&Cancelled { id: 1 }).await.unwrap();
        assert_eq!(
            dead_letters(&bus, "mail", 1).await,
            [("unknown_type".into(), 1)]
        );
        settled(&bus, "mail").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_is_dead_lettered_and_the_rest_goes_on() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let _worker = bus
            .worker("mail")
            .state(noter)
            .on(async |e: Placed, State(n): State<Noter<u64>>| n.note(e.id))
            .start()
            .await
            .unwrap();
        bus.publish(&raw("orders.placed", Some("order.placed"), "{"))
            .await
            .unwrap();
        let mut image = raw("orders.placed", Some("order.placed"), "x");
        image.content_type = Some("image/png".into());
        bus.publish(&image).await.unwrap();
        bus.publish(&Placed { id: 7 }).await.unwrap();
        assert_eq!(notes.next().await, 7);
        let dead = dead_letters(&bus, "mail", 2).await;
        assert_eq!(dead, [("decode".into(), 1), ("decode".into(), 1)]);
        settled(&bus, "mail").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_codec_follows_the_content_type() {
    within(async {
        let memory = Arc::new(MemoryBus::new());
        let writer = Connector::new()
            .codecs(Codecs::default().with_default(Json))
            .client(memory.clone(), Settings::default());
        let (noter, mut notes) = notes();
        let _worker = writer
            .worker("mail")
            .state(noter)
            .on(async |e: Placed, State(n): State<Noter<u64>>| n.note(e.id))
            .start()
            .await
            .unwrap();
        for content_type in [
            "application/json; charset=utf-8",
            "application/vnd.acme+json",
        ] {
            let mut message = raw("orders.placed", Some("order.placed"), r#"{"id":8}"#);
            message.content_type = Some(content_type.into());
            writer.publish(&message).await.unwrap();
            assert_eq!(notes.next().await, 8, "{content_type}");
        }
    })
    .await;
}
