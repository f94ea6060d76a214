//! Answering requests.

use bus_api::{Context, Decide, Error, ErrorKind, HandlerResult, RemoteFailure, Request, State};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::support::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum PriceError {
    UnknownSku,
}

#[derive(Serialize, Deserialize, bus_derive::Event)]
#[event(crate = "bus_api", type = "price.query", topic = "prices.query")]
struct PriceQuery {
    sku: String,
}

impl Request for PriceQuery {
    type Reply = Result<u64, PriceError>;
}

fn query(sku: &str) -> PriceQuery {
    PriceQuery { sku: sku.into() }
}

async fn price(q: PriceQuery, ctx: Context) -> HandlerResult<Result<u64, PriceError>> {
    match q.sku.as_str() {
        "tea" => Ok(Ok(250)),
        "panic" => panic!("no such shelf"),
        "error" => Err("the warehouse is on fire").or_retry_after(secs(60)),
        "bus" => Err(Error::new(ErrorKind::Unavailable, "no database"))?,
        "slow" => {
            tokio::time::sleep(secs(100)).await;
            Ok(Ok(1))
        }
        "deadline" => {
            let left = ctx.deadline().expect("a request has a deadline") - Instant::now();
            Ok(Ok(left.as_secs()))
        }
        _ => Ok(Err(PriceError::UnknownSku)),
    }
}

fn remote(error: &Error) -> (String, String) {
    assert_eq!(error.kind(), ErrorKind::Remote, "{error}");
    let failure = error.downcast_source::<RemoteFailure>().unwrap();
    (failure.kind().into(), failure.text().into())
}

#[tokio::test(start_paused = true)]
async fn a_domain_error_is_data_and_every_other_failure_is_remote() {
    within(async {
        let bus = bus();
        let running = bus
            .worker("prices")
            .respond(price)
            .timeout(secs(2))
            .start()
            .await
            .unwrap();
        assert_eq!(bus.request(&query("tea")).await.unwrap(), Ok(250));
        assert_eq!(
            bus.request(&query("x")).await.unwrap(),
            Err(PriceError::UnknownSku)
        );
        for (sku, kind, text) in [
            ("panic", "panic", "no such shelf"),
            ("error", "handler", "the warehouse is on fire"),
            ("bus", "unavailable", "no database"),
            ("slow", "timeout", "2s"),
        ] {
            let error = bus
                .request(&query(sku))
                .timeout(secs(10))
                .await
                .unwrap_err();
            let failure = remote(&error);
            assert_eq!(failure.0, kind);
            assert!(failure.1.contains(text), "{failure:?}");
        }
        let report = running.shutdown(secs(1)).await;
        assert_eq!((report.answered, report.refused, report.retried), (2, 4, 0));
        assert_eq!(report.dead_lettered, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn responders_see_the_deadline_and_it_limits_their_time() {
    within(async {
        let bus = bus();
        let _running = bus
            .worker("prices")
            .respond(price)
            .timeout(secs(1_000))
            .start()
            .await
            .unwrap();
        let left = bus
            .request(&query("deadline"))
            .timeout(secs(7))
            .await
            .unwrap()
            .unwrap();
        assert!((6..=7).contains(&left), "{left}");
        let error = bus
            .request(&query("slow"))
            .timeout(secs(3))
            .await
            .unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Remote),
            "{error}"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn concurrency_is_bounded_and_what_is_overdue_is_not_begun() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let running = bus
            .worker("prices")
            .state(noter)
            .concurrency(1)
            .respond(async |q: PriceQuery, State(n): State<Noter<String>>| {
                n.note(q.sku);
                tokio::time::sleep(secs(4)).await;
                Ok::<_, PriceError>(1)
            })
            .start()
            .await
            .unwrap();
        let (q1, q2) = (query("one"), query("two"));
        let ask = |q, timeout| bus.request(q).timeout(timeout).into_future();
        let (one, two) = tokio::join!(ask(&q1, secs(10)), async {
            tokio::time::sleep(secs(1)).await;
            ask(&q2, secs(2)).await
        });
        assert_eq!(one.unwrap(), Ok(1));
        assert_eq!(two.unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(notes.next().await, "one");
        tokio::time::sleep(secs(10)).await;
        assert!(notes.none(), "the second was not begun");
        let report = running.shutdown(secs(1)).await;
        assert_eq!(report.answered, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_each_get_their_own_reply() {
    #[derive(Serialize, Deserialize, bus_derive::Event)]
    #[event(crate = "bus_api", type = "double", topic = "math.double")]
    struct Double(u64);

    impl Request for Double {
        type Reply = u64;
    }

    within(async {
        let bus = bus();
        let worker = |_| {
            bus.worker("math")
                .respond(async |Double(n): Double| 2 * n)
                .start()
        };
        let _running = [worker(1).await.unwrap(), worker(2).await.unwrap()];
        let mut asking = tokio::task::JoinSet::new();
        for n in 0..1_000 {
            let bus = bus.clone();
            asking.spawn(async move { (n, bus.request(&Double(n)).await.unwrap()) });
        }
        while let Some(asked) = asking.join_next().await {
            let (n, doubled) = asked.unwrap();
            assert_eq!(doubled, 2 * n);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_no_responder_can_read_is_remote() {
    within(async {
        #[derive(Serialize, Deserialize, bus_derive::Event)]
        #[event(crate = "bus_api", type = "price.other", topic = "prices.query")]
        struct Other;

        impl Request for Other {
            type Reply = u64;
        }

        #[derive(Serialize, Deserialize, bus_derive::Event)]
        #[event(crate = "bus_api", type = "price.query", topic = "prices.query")]
        struct Damaged(u64);

        impl Request for Damaged {
            type Reply = u64;
        }

        let bus = bus();
        let _running = bus.worker("prices").respond(price).start().await.unwrap();
        assert_eq!(
            remote(&bus.request(&Other).await.unwrap_err()).0,
            "unknown_type"
        );
        assert_eq!(
            remote(&bus.request(&Damaged(1)).await.unwrap_err()).0,
            "decode"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_can_ask_because_of_its_message() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let _prices = bus
            .worker("prices")
            .state(noter)
            .respond(
                async |_: PriceQuery, ctx: Context, State(n): State<Noter<bus_api::Metadata>>| {
                    n.note(ctx.metadata().clone());
                    Ok::<_, PriceError>(3)
                },
            )
            .start()
            .await
            .unwrap();
        let _orders = bus
            .worker("mail")
            .on(async |_: Placed, ctx: Context| -> HandlerResult {
                ctx.request(&query("tea")).await?.map_err(|_| "no price")?;
                Ok(())
            })
            .start()
            .await
            .unwrap();
        let placed = bus.publish(&Placed { id: 1 }).await.unwrap();
        let asked = notes.next().await;
        assert_eq!(asked.causation_id.as_deref(), Some(&*placed.id.to_string()));
        settled(&bus, "mail").await;
    })
    .await;
}
