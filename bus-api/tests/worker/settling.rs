//! What becomes of a message by its handler's outcome.

use std::fmt;
use std::time::Duration;

use bus_api::{
    Context, Decide, Error, ErrorKind, HandlerError, HandlerResult, Jitter, Retry, State,
};
use tokio::time::Instant;

use crate::support::*;

#[derive(Debug)]
struct Smtp(u16);

impl fmt::Display for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "smtp {}", self.0)
    }
}

impl std::error::Error for Smtp {}

fn policy() -> Retry {
    Retry::exponential(ms(200), secs(30))
        .attempts(3)
        .jitter(Jitter::None)
        .dead_letter_if(|e: &Smtp| e.0 == 550)
}

/// Publishes one message to a worker with `handler`; returns the attempts with the time before
/// each, once it is settled, and the dead letters.
async fn attempts<F, Fut>(handler: F) -> (Vec<(u32, u128)>, Vec<(String, u32)>)
where
    F: Fn(u32) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = HandlerResult> + Send,
{
    let bus = bus();
    let (noter, mut notes) = notes();
    let worker = bus
        .worker("mail")
        .state(noter)
        .retry(policy())
        .timeout(secs(10));
    let worker = worker.on(
        move |_: Placed, ctx: Context, State(n): State<Noter<(u32, Instant)>>| {
            let handler = handler.clone();
            async move {
                n.note((ctx.attempt(), Instant::now()));
                handler(ctx.attempt()).await
            }
        },
    );
    let running = worker.start().await.unwrap();
    bus.publish(&Placed { id: 1 }).await.unwrap();
    let mut last = Instant::now();
    settled(&bus, "mail").await;
    running.shutdown(secs(1)).await;
    let mut seen = Vec::new();
    while !notes.is_empty() {
        let (attempt, at) = notes.next().await;
        seen.push((attempt, at.duration_since(last).as_millis()));
        last = at;
    }
    let dead = bus
        .dead_letters("mail")
        .count(&bus_api::Filter::default())
        .await
        .unwrap();
    let dead = dead_letters(&bus, "mail", dead as usize).await;
    (seen, dead)
}

fn near(actual: &[(u32, u128)], expected: &[(u32, u128)]) {
    let close = |(a, b): (&(u32, u128), &(u32, u128))| a.0 == b.0 && a.1 >= b.1 && a.1 < b.1 + 50;
    assert!(
        actual.len() == expected.len() && actual.iter().zip(expected).all(close),
        "{actual:?} is not about {expected:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_handled_message_is_settled() {
    within(async {
        let (seen, dead) = attempts(async |_| Ok(())).await;
        near(&seen, &[(1, 0)]);
        assert!(dead.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn undecided_errors_are_retried_with_backoff_and_then_given_up() {
    within(async {
        let (seen, dead) = attempts(async |_| Err("no luck")?).await;
        near(&seen, &[(1, 0), (2, 200), (3, 400)]);
        assert_eq!(dead, [("handler".into(), 3)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_second_attempt_can_succeed() {
    within(async {
        let (seen, dead) = attempts(async |attempt| {
            if attempt == 1 {
                Err("no luck")?
            } else {
                Ok(())
            }
        })
        .await;
        near(&seen, &[(1, 0), (2, 200)]);
        assert!(dead.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_handler_decides_in_place() {
    within(async {
        let (seen, dead) = attempts(async |_| Err("no total").or_dead_letter()).await;
        near(&seen, &[(1, 0)]);
        assert_eq!(dead, [("handler".into(), 1)]);

        let (seen, dead) = attempts(async |_| Err(Smtp(451)).or_retry_after(secs(60))).await;
        near(&seen, &[(1, 0), (2, 60_000), (3, 60_000)]);
        assert_eq!(dead, [("handler".into(), 3)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn defer_costs_no_attempt() {
    within(async {
        let deferred = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let (seen, dead) = attempts(move |_| {
            let before = deferred.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move {
                if before < 9 {
                    Err("not yet").or_defer(secs(2))
                } else {
                    Ok(())
                }
            }
        })
        .await;
        let mut expected = vec![(1, 2_000); 10];
        expected[0].1 = 0;
        near(&seen, &expected);
        assert!(dead.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_policy_classifies_by_type() {
    within(async {
        let (seen, dead) = attempts(async |_| Err(HandlerError::from(Smtp(550)))).await;
        near(&seen, &[(1, 0)]);
        assert_eq!(dead, [("handler".into(), 1)]);

        let (seen, dead) = attempts(async |_| Err(Error::new(ErrorKind::TooLarge, "x"))?).await;
        near(&seen, &[(1, 0)]);
        assert_eq!(dead, [("too_large".into(), 1)]);

        let (seen, dead) = attempts(async |_| Err(Error::new(ErrorKind::Unavailable, "x"))?).await;
        assert_eq!(seen.len(), 3);
        assert_eq!(dead, [("unavailable".into(), 3)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_and_nothing_else_suffers() {
    within(async {
        let (seen, dead) = attempts(async |attempt| panic!("number {attempt}")).await;
        near(&seen, &[(1, 0), (2, 200), (3, 400)]);
        assert_eq!(dead, [("panic".into(), 3)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_dropped_and_has_failed() {
    within(async {
        let (seen, dead) = attempts(async |_| {
            tokio::time::sleep(Duration::from_secs(3_000)).await;
            Ok(())
        })
        .await;
        near(&seen, &[(1, 0), (2, 10_200), (3, 10_400)]);
        assert_eq!(dead, [("timeout".into(), 3)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_extraction_is_a_failure_of_the_handler() {
    struct Tenant;

    impl<S: Send + Sync> bus_api::FromContext<S> for Tenant {
        async fn from_context(context: &Context, _state: &S) -> HandlerResult<Self> {
            context
                .headers()
                .get("tenant")
                .ok_or("no header `tenant`")
                .or_dead_letter()?;
            Ok(Self)
        }
    }

    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let _worker = bus
            .worker("mail")
            .state(noter)
            .on(async |e: Placed, _: Tenant, State(n): State<Noter<u64>>| n.note(e.id))
            .start()
            .await
            .unwrap();
        bus.publish(&Placed { id: 1 }).await.unwrap();
        bus.publish(&Placed { id: 2 })
            .header("tenant", "a")
            .await
            .unwrap();
        assert_eq!(notes.next().await, 2);
        assert_eq!(dead_letters(&bus, "mail", 1).await, [("handler".into(), 1)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_report_counts_what_happened() {
    within(async {
        let bus = bus();
        let worker = bus.worker("mail").retry(policy());
        let worker = worker.on(
            async |e: Placed, ctx: Context| match (e.id, ctx.attempt()) {
                (1, _) | (2, 2..) => Ok(()),
                (2, _) => Err("again"),
                (_, _) => Err("no luck"),
            },
        );
        let running = worker.start().await.unwrap();
        for id in 1..=3 {
            bus.publish(&Placed { id }).await.unwrap();
        }
        settled(&bus, "mail").await;
        let report = running.shutdown(secs(1)).await;
        assert_eq!((report.handled, report.failed), (2, 4));
        assert_eq!((report.retried, report.dead_lettered), (3, 1));
        assert_eq!(
            (report.deferred, report.handed_back, report.unsettled),
            (0, 0, 0)
        );
        assert!(report.error.is_none());
    })
    .await;
}
