//! The bus for tests, tested.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bus::prelude::*;
use bus::testing::{Ending, Operation, TestBus};
use bus::{ErrorKind, Filter, Order, Raw};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(type = "order.placed", topic = "orders.placed", key = "id")]
struct OrderPlaced {
    id: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(type = "mail.sent", topic = "mail.sent")]
struct MailSent {
    order: u64,
}

#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "nap", topic = "naps")]
struct Nap {}

impl Request for Nap {
    type Reply = ();
}

async fn settled(test: &TestBus) {
    let settled = timeout(PATIENCE, test.settled()).await;
    assert!(settled.is_ok(), "it does not settle");
}

fn endings(test: &TestBus, group: &str) -> Vec<Ending> {
    let outcomes = test.outcomes(group, "order.placed");
    outcomes.into_iter().map(|outcome| outcome.ending).collect()
}

async fn send_mail(order: OrderPlaced, ctx: Context) -> HandlerResult {
    ctx.publish(&MailSent { order: order.id }).once().await?;
    Ok(())
}

/// Fails until the third attempt.
async fn third_time(_: OrderPlaced, ctx: Context) -> HandlerResult {
    if ctx.attempt() < 3 {
        Err("not yet")?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_cascade_is_waited_for_to_its_end() {
    let test = TestBus::new();
    let archived = Arc::new(AtomicU32::new(0));
    let archive = async |_: MailSent, State(archived): State<Arc<AtomicU32>>| {
        sleep(Duration::from_secs(5)).await;
        archived.fetch_add(1, Ordering::Relaxed);
    };
    let _mail = test.bus.worker("mail").on(send_mail).start().await.unwrap();
    let worker = test.bus.worker("archive").state(Arc::clone(&archived));
    let _archive = worker.on(archive).start().await.unwrap();
    for id in 0..100 {
        test.bus.publish(&OrderPlaced { id }).await.unwrap();
    }
    settled(&test).await;
    assert_eq!(test.published::<MailSent>().len(), 100);
    assert_eq!(archived.load(Ordering::Relaxed), 100);
    assert_eq!(endings(&test, "mail"), vec![Ending::Handled; 100]);
    assert_eq!(test.messages().len(), 200);
}

#[tokio::test(start_paused = true)]
async fn handlers_of_broadcasts_are_waited_for() {
    let test = TestBus::new();
    let seen = Arc::new(AtomicU32::new(0));
    let count = async |_: Raw, State(seen): State<Arc<AtomicU32>>| {
        sleep(Duration::from_secs(5)).await;
        seen.fetch_add(1, Ordering::Relaxed);
    };
    let worker = test.bus.broadcast_worker("audit").state(Arc::clone(&seen));
    let _audit = worker.pattern(">").on(count).start().await.unwrap();
    for id in 0..10 {
        test.bus.publish(&OrderPlaced { id }).await.unwrap();
    }
    settled(&test).await;
    assert_eq!(seen.load(Ordering::Relaxed), 10);
}

#[tokio::test(start_paused = true)]
async fn retries_pass_at_once_and_are_recorded() {
    for order in [Order::None, Order::PerKey] {
        let test = TestBus::new();
        let (started, clock) = (std::time::Instant::now(), Instant::now());
        let hour = Duration::from_secs(3600);
        let retry = Retry::exponential(hour, hour).jitter(bus::Jitter::None);
        let worker = test.bus.worker("mail").order(order).retry(retry);
        let _mail = worker.on(third_time).start().await.unwrap();
        test.bus.publish(&OrderPlaced { id: 7 }).await.unwrap();
        timeout(3 * hour, test.settled()).await.unwrap();
        assert_eq!(
            endings(&test, "mail"),
            [Ending::Failed, Ending::Failed, Ending::Handled]
        );
        let attempts: Vec<_> = test
            .outcomes("mail", "order.placed")
            .iter()
            .map(|outcome| outcome.attempt)
            .collect();
        assert_eq!(attempts, [1, 2, 3], "{order:?}");
        assert!(clock.elapsed() >= 2 * hour && started.elapsed() < Duration::from_secs(60));
    }
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_recorded_and_redriven_copies_are_not_published_events() {
    let test = TestBus::new();
    let refuse = async |_: OrderPlaced, ctx: Context| -> HandlerResult {
        if ctx.message().targeted.is_none() {
            Err("no").or_dead_letter()?;
        }
        Ok(())
    };
    let _mail = test.bus.worker("mail").on(refuse).start().await.unwrap();
    let _other = test
        .bus
        .worker("other")
        .on(async |_: OrderPlaced| {})
        .start()
        .await
        .unwrap();
    test.bus.publish(&OrderPlaced { id: 7 }).await.unwrap();
    settled(&test).await;
    assert!(matches!(
        &endings(&test, "mail")[..],
        [Ending::DeadLettered(_)]
    ));
    let report = test
        .bus
        .dead_letters("mail")
        .redrive(&Filter::default())
        .await
        .unwrap();
    assert_eq!(report.done, 1);
    settled(&test).await;
    assert_eq!(endings(&test, "mail").last(), Some(&Ending::Handled));
    assert_eq!(
        endings(&test, "other"),
        [Ending::Handled],
        "it does not see the copy"
    );
    assert_eq!(test.dead_letters("mail").len(), 1);
    assert_eq!(test.published::<OrderPlaced>(), [OrderPlaced { id: 7 }]);
}

#[tokio::test(start_paused = true)]
async fn failures_and_latency_are_those_of_a_broker() {
    let test = TestBus::new();
    let order = OrderPlaced { id: 7 };
    test.fail(Operation::Publish, 1, ErrorKind::PermissionDenied);
    let error = test.bus.publish(&order).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    test.fail(Operation::Publish, 2, ErrorKind::Unavailable);
    test.bus.publish(&order).await.expect("tried again");

    test.fail(Operation::Subscribe, 1, ErrorKind::PermissionDenied);
    let refused = test.bus.worker("mail").on(send_mail).start().await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);

    let _mail = test.bus.worker("mail").on(send_mail).start().await.unwrap();
    test.fail(Operation::Settle, 3, ErrorKind::Unavailable);
    test.delay(Operation::Publish, Duration::from_secs(7));
    let clock = Instant::now();
    test.bus.publish(&order).await.unwrap();
    assert!(clock.elapsed() >= Duration::from_secs(7));
    settled(&test).await;
    assert_eq!(endings(&test, "mail"), [Ending::Handled]);
    assert_eq!(test.published::<MailSent>().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_group_without_members_is_not_waited_for() {
    let test = TestBus::new();
    let mail = test.bus.worker("mail").on(send_mail).start().await.unwrap();
    mail.shutdown(Duration::from_secs(1)).await;
    test.bus.publish(&OrderPlaced { id: 7 }).await.unwrap();
    settled(&test).await;
    assert_eq!(endings(&test, "mail"), []);
}

#[tokio::test(start_paused = true)]
async fn a_responder_that_is_late_is_a_time_out_and_not_its_failure() {
    let test = TestBus::new();
    let sleepy = async |_: Nap| sleep(Duration::from_secs(60)).await;
    let _sleepy = test
        .bus
        .worker("sleepers")
        .respond(sleepy)
        .start()
        .await
        .unwrap();
    for _ in 0..20 {
        let asked = test.bus.request(&Nap {}).timeout(Duration::from_millis(50));
        assert_eq!(asked.await.unwrap_err().kind(), ErrorKind::Timeout);
    }
}

#[tokio::test]
async fn it_settles_on_a_clock_that_runs() {
    let test = TestBus::new();
    let backoff = Retry::exponential(Duration::from_millis(1), Duration::from_millis(5));
    let _mail = test
        .bus
        .worker("mail")
        .on(third_time)
        .retry(backoff)
        .start()
        .await
        .unwrap();
    for id in 0..50 {
        test.bus.publish(&OrderPlaced { id }).await.unwrap();
    }
    settled(&test).await;
    assert_eq!(endings(&test, "mail").len(), 150);
}
