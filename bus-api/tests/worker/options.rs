//! Mistakes in the options of a worker.

use bus_api::{BusClient, ErrorKind, HandlerResult, Raw, Request, Start, Worker};
use serde::{Deserialize, Serialize};

use crate::support::*;

#[derive(Serialize, Deserialize, bus_derive::Event)]
#[event(crate = "bus_api", type = "price.query", topic = "prices")]
struct PriceQuery;

impl Request for PriceQuery {
    type Reply = u64;
}

async fn refused(worker: Worker) -> String {
    let error = worker.start().await.unwrap_err();
    assert!(
        matches!(
            error.kind(),
            ErrorKind::InvalidConfig | ErrorKind::InvalidTopic
        ),
        "{error}"
    );
    error.to_string()
}

async fn placed(_: Placed) {}

#[tokio::test]
async fn two_patterns_that_match_one_topic_are_refused_naming_both() {
    let bus = bus();
    let error = refused(
        bus.worker("mail")
            .pattern("orders.*")
            .pattern("*.placed")
            .on(placed),
    )
    .await;
    assert!(
        error.contains("orders.*") && error.contains("*.placed"),
        "{error}"
    );
    let error = refused(
        bus.worker("mail")
            .pattern("orders.>")
            .pattern("orders.>")
            .on(placed),
    )
    .await;
    assert!(error.contains("orders.>"), "{error}");
    assert!(
        bus.subscriptions().list().await.unwrap().is_empty(),
        "nothing was created"
    );
}

#[tokio::test]
async fn what_cannot_work_is_refused_and_says_what_would() {
    type Make = fn(&BusClient) -> Worker;
    let table: [(Make, &str); 11] = [
        (|bus| bus.worker("mail"), "needs a handler"),
        (|bus| bus.worker("no group").on(placed), "no group"),
        (|bus| bus.worker("mail").pattern("a b").on(placed), "a b"),
        (
            |bus| bus.worker("mail").fallback(async |_: Raw| {}),
            "pattern",
        ),
        (
            |bus| bus.worker("mail").on(placed).on(placed),
            "order.placed",
        ),
        (
            |bus| {
                bus.worker("mail")
                    .pattern("a")
                    .fallback(async |_: Raw| {})
                    .on(async |_: Raw| {})
            },
            "two handlers",
        ),
        (
            |bus| bus.worker("mail").on(placed).concurrency(0),
            "concurrency",
        ),
        (
            |bus| bus.worker("mail").on(placed).max_in_flight(0),
            "max_in_flight",
        ),
        (
            |bus| {
                bus.worker("mail")
                    .max_in_flight(9)
                    .on_batch(10, ms(1), async |_: Vec<Placed>| {})
            },
            "max_in_flight",
        ),
        (
            |bus| {
                bus.worker("mail")
                    .on_batch(0, ms(1), async |_: Vec<Placed>| {})
            },
            "at least 1",
        ),
        (
            |bus| {
                bus.worker("prices")
                    .pattern("a")
                    .respond(async |_: PriceQuery| 1)
            },
            "pattern",
        ),
    ];
    let bus = bus();
    for (make, named) in table {
        let error = refused(make(&bus)).await;
        assert!(error.contains(named), "{named}: {error}");
    }
    let worker = bus
        .broadcast_worker("prices")
        .respond(async |_: PriceQuery| -> HandlerResult<u64> { Ok(1) });
    assert!(refused(worker).await.contains("group"));
    let worker = bus.worker("mail").on(placed).lease(ms(1));
    assert!(refused(worker).await.contains("lease"));
}

#[tokio::test(start_paused = true)]
async fn a_new_group_starts_where_it_is_told() {
    within(async {
        let bus = bus();
        for id in 0..3 {
            bus.publish(&Placed { id }).await.unwrap();
        }
        let (noter, mut notes) = notes();
        for (group, start, expected) in [
            ("latest", None, vec![9]),
            ("earliest", Some(Start::Earliest), vec![0, 1, 2, 9, 9]),
        ] {
            let noter = noter.clone();
            let mut worker =
                bus.worker(group)
                    .order(bus_api::Order::PerKey)
                    .on(move |e: Placed| {
                        let noter = noter.clone();
                        async move { noter.note((group, e.id)) }
                    });
            if let Some(start) = start {
                worker = worker.start_at(start);
            }
            let running = worker.start().await.unwrap();
            bus.publish(&Placed { id: 9 }).await.unwrap();
            let mut seen: Vec<_> = notes
                .take(expected.len())
                .await
                .into_iter()
                .map(|(_, id)| id)
                .collect();
            seen.sort_unstable();
            assert_eq!(seen, expected, "{group}");
            settled(&bus, group).await;
            assert!(notes.none());
            running.shutdown(secs(1)).await;
        }
    })
    .await;
}
