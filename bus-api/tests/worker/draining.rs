//! How a worker ends.

use bus_api::{
    Context, Error, ErrorKind, HandlerResult, Jitter, Pattern, Retry, State, Stop, SubscriptionId,
};
use tokio::time::Instant;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn handlers_go_on_until_the_deadline_and_their_outcome_counts() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let running = bus
            .worker("mail")
            .state(noter)
            .on(async |e: Placed, State(n): State<Noter<u64>>| {
                n.note(e.id);
                tokio::time::sleep(secs(10)).await;
            })
            .start()
            .await
            .unwrap();
        bus.publish(&Placed { id: 1 }).await.unwrap();
        notes.next().await;
        let begin = Instant::now();
        let report = running.shutdown(secs(20)).await;
        assert!(
            begin.elapsed() < secs(11),
            "no longer than the handler: {:?}",
            begin.elapsed()
        );
        assert_eq!(
            (report.handled, report.handed_back, report.unsettled),
            (1, 0, 0)
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_handlers_are_told_then_dropped_and_handed_back_without_an_attempt() {
    within(async {
        let bus = bus();
        for drain in 1..=20 {
            let (noter, mut notes) = notes();
            let running = bus
                .worker("mail")
                .state(noter)
                .concurrency(1)
                .on(
                    async |_: Placed, ctx: Context, State(n): State<Noter<(&'static str, u32)>>| {
                        n.note(("started", ctx.attempt()));
                        ctx.cancelled().await;
                        n.note(("cancelled", ctx.attempt()));
                        std::future::pending::<()>().await;
                    },
                )
                .start()
                .await
                .unwrap();
            if drain == 1 {
                for id in 0..5 {
                    bus.publish(&Placed { id }).await.unwrap();
                }
            }
            assert_eq!(notes.next().await, ("started", 1), "drain {drain}");
            let begin = Instant::now();
            let report = running.shutdown(secs(3)).await;
            assert_eq!(notes.next().await, ("cancelled", 1));
            let took = begin.elapsed();
            assert!(took >= secs(3) && took < secs(4), "{took:?}");
            assert_eq!((report.handled, report.failed, report.unsettled), (0, 0, 0));
            assert_eq!(report.handed_back, 5, "drain {drain}");
        }
        let (noter, mut notes) = notes();
        let _worker = bus
            .worker("mail")
            .state(noter)
            .on(
                async |e: Placed, ctx: Context, State(n): State<Noter<(u64, u32)>>| {
                    n.note((e.id, ctx.attempt()));
                },
            )
            .start()
            .await
            .unwrap();
        let mut seen = notes.take(5).await;
        seen.sort_unstable();
        assert_eq!(seen, [(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_because_the_bus_is_being_closed_is_handed_back() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let running = bus
            .worker("mail")
            .state(noter)
            .on(
                async |_: Placed, ctx: Context, State(n): State<Noter<u32>>| -> HandlerResult {
                    n.note(ctx.attempt());
                    ctx.cancelled().await;
                    Err(Error::new(ErrorKind::Canceled, "given up"))?
                },
            )
            .start()
            .await
            .unwrap();
        bus.publish(&Placed { id: 1 }).await.unwrap();
        notes.next().await;
        let report = running.shutdown(ms(10)).await;
        assert_eq!((report.failed, report.handed_back), (0, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn run_until_drains_when_its_future_resolves_and_one_signal_stops_many() {
    within(async {
        let bus = bus();
        let stop = Stop::new();
        let worker = |group: &str| {
            bus.worker(group)
                .on(async |_: Placed| {})
                .run_until(stop.stopped())
        };
        let (mail, audit, ()) = tokio::join!(worker("mail"), worker("audit"), async {
            while bus.subscriptions().list().await.unwrap().len() < 2 {
                tokio::time::sleep(ms(1)).await;
            }
            bus.publish(&Placed { id: 1 }).await.unwrap();
            settled(&bus, "mail").await;
            settled(&bus, "audit").await;
            assert!(!stop.is_stopped());
            stop.stop();
        });
        assert_eq!((mail.unwrap().handled, audit.unwrap().handled), (1, 1));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn closing_the_bus_drains_its_workers() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let running = bus
            .worker("mail")
            .state(noter)
            .on(async |e: Placed, State(n): State<Noter<u64>>| {
                n.note(e.id);
                tokio::time::sleep(secs(2)).await;
            })
            .start()
            .await
            .unwrap();
        bus.publish(&Placed { id: 1 }).await.unwrap();
        notes.next().await;
        bus.close().await.unwrap();
        let report = running.join().await.unwrap();
        assert_eq!((report.handled, report.unsettled), (1, 0));
        let error = bus
            .worker("mail")
            .on(async |_: Placed| {})
            .start()
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_subscription_ends_its_worker_with_not_found() {
    within(async {
        let bus = bus();
        let running = bus
            .worker("mail")
            .on(async |_: Placed| {})
            .start()
            .await
            .unwrap();
        let group = bus_api::Group::new("mail").unwrap();
        let id = SubscriptionId::new(group, Pattern::new("orders.placed").unwrap());
        bus.subscriptions().forced().delete(&id).await.unwrap();
        running.ended().await;
        assert_eq!(
            running.join().await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_drains_the_worker() {
    within(async {
        let bus = bus();
        let retry = Retry::exponential(secs(1), secs(1)).jitter(Jitter::None);
        let running = bus
            .worker("mail")
            .on(async |_: Placed| {})
            .retry(retry)
            .start()
            .await
            .unwrap();
        drop(running);
        loop {
            let list = bus.subscriptions().list().await.unwrap();
            if list[0].members == 0 {
                break;
            }
            tokio::time::sleep(ms(1)).await;
        }
    })
    .await;
}
