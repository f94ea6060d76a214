//! Handlers of many messages at once.

use bus_api::{Context, Envelope, ErrorKind, HandlerError, HandlerResult, Raw, Retry, State};
use tokio::time::Instant;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_full_batch_does_not_linger_and_a_small_one_lingers_from_its_first_message() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let _worker = bus
            .worker("archive")
            .state(noter)
            .on_batch(
                3,
                secs(60),
                async |es: Vec<Placed>, State(n): State<Noter<(usize, Instant)>>| {
                    n.note((es.len(), Instant::now()));
                },
            )
            .start()
            .await
            .unwrap();
        let begin = Instant::now();
        for id in 0..3 {
            bus.publish(&Placed { id }).await.unwrap();
        }
        let (size, at) = notes.next().await;
        assert_eq!(size, 3);
        assert!(at - begin < secs(1));

        let begin = Instant::now();
        bus.publish(&Placed { id: 4 }).await.unwrap();
        tokio::time::sleep(secs(40)).await;
        bus.publish(&Placed { id: 5 }).await.unwrap();
        let (size, at) = notes.next().await;
        assert_eq!(size, 2);
        let waited = at - begin;
        assert!(
            waited >= secs(60) && waited < secs(61),
            "no debounce: {waited:?}"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn each_message_of_a_batch_has_its_own_outcome() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let running = bus
            .worker("archive")
            .state(noter)
            .retry(Retry::never())
            .on_batch(
                4,
                ms(50),
                async |es: Vec<Envelope<Placed>>, State(n): State<Noter<u64>>| {
                    let outcome = |e: Envelope<Placed>| match e.event.id {
                        2 => Err("number two"),
                        id => {
                            n.note(id);
                            Ok(())
                        }
                    };
                    es.into_iter().map(outcome).collect::<Vec<_>>()
                },
            )
            .start()
            .await
            .unwrap();
        for id in 1..=4 {
            bus.publish(&Placed { id }).await.unwrap();
        }
        assert_eq!(notes.take(3).await, [1, 3, 4]);
        assert_eq!(
            dead_letters(&bus, "archive", 1).await,
            [("handler".into(), 1)]
        );
        settled(&bus, "archive").await;
        let report = running.shutdown(secs(1)).await;
        assert_eq!((report.handled, report.dead_lettered), (3, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_result_can_stand_for_all() {
    within(async {
        for what in ["error", "panic", "too few"] {
            let bus = bus();
            let running = bus
                .worker("archive")
                .retry(Retry::never())
                .on_batch(4, ms(50), move |_: Vec<Placed>| async move {
                    match what {
                        "error" => Err(HandlerError::from("the database is away")),
                        "panic" => panic!("no database"),
                        _ => Ok(vec![HandlerResult::Ok(())]),
                    }
                })
                .start()
                .await
                .unwrap();
            for id in 1..=3 {
                bus.publish(&Placed { id }).await.unwrap();
            }
            let kind = if what == "panic" { "panic" } else { "handler" };
            assert_eq!(
                dead_letters(&bus, "archive", 3).await,
                vec![(kind.to_owned(), 1); 3]
            );
            assert_eq!(running.shutdown(secs(1)).await.dead_lettered, 3, "{what}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn other_handlers_get_theirs_one_by_one_and_keys_stay_in_order() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let publisher = bus.publisher();
        for round in 0..3 {
            for id in 0..4 {
                let _stored = publisher
                    .send(&Placed { id })
                    .key(format!("{id}"))
                    .header("n", format!("{round}a"))
                    .await
                    .unwrap();
                let _stored = publisher
                    .send(&raw("orders.placed", Some("other"), "{}"))
                    .key(format!("{id}"))
                    .header("n", format!("{round}b"))
                    .await
                    .unwrap();
            }
        }
        publisher.flush().await.unwrap();
        let worker = bus
            .worker("archive")
            .state(noter)
            .pattern("orders.>")
            .start_at(bus_api::Start::Earliest);
        let _worker = worker
            .on_batch(
                100,
                ms(50),
                async |es: Vec<Envelope<Placed>>, State(n): State<Noter<(String, String)>>| {
                    for e in es {
                        n.note((
                            e.event.id.to_string(),
                            e.headers.get("n").unwrap().to_owned(),
                        ));
                    }
                },
            )
            .fallback(
                async |e: Raw, ctx: Context, State(n): State<Noter<(String, String)>>| {
                    let key = String::from_utf8(e.key.unwrap().to_vec()).unwrap();
                    n.note((key, ctx.headers().get("n").unwrap().to_owned()));
                },
            )
            .start()
            .await
            .unwrap();
        let seen = notes.take(24).await;
        for key in ["0", "1", "2", "3"] {
            let of_key: Vec<_> = seen
                .iter()
                .filter(|(k, _)| k == key)
                .map(|(_, n)| n.as_str())
                .collect();
            assert_eq!(of_key, ["0a", "0b", "1a", "1b", "2a", "2b"], "key {key}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_id_cannot_be_derived_from_a_whole_batch() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let _worker = bus
            .worker("archive")
            .state(noter)
            .on_batch(
                2,
                ms(50),
                async |_: Vec<Placed>, ctx: Context, State(n): State<Noter<ErrorKind>>| {
                    let caused = ctx.publish(&MailSent { id: 1 }).once().await;
                    n.note(caused.unwrap_err().kind());
                    Ok::<(), HandlerError>(())
                },
            )
            .start()
            .await
            .unwrap();
        bus.publish(&Placed { id: 1 }).await.unwrap();
        assert_eq!(notes.next().await, ErrorKind::InvalidArgument);
    })
    .await;
}
