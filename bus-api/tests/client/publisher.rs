use std::time::Duration;

use bus_api::*;
use tokio::time::Instant;

use crate::fake::{Fake, Step, event, in_time, keyed, unavailable};

const NOW: Duration = Duration::ZERO;
const MS: fn(u64) -> Duration = Duration::from_millis;

fn window(messages: usize, bytes: usize) -> Settings {
    Settings {
        window: messages,
        window_bytes: bytes,
        ..Settings::default()
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_batched_and_stored_in_order() {
    let fake = Fake::scripted(|_, _| Step::Store(MS(5)));
    let publisher = fake.client().publisher();
    let sent: Vec<_> = (0..3000).map(|n| n.to_string()).collect();
    let started = Instant::now();
    let mut confirmations = Vec::new();
    for payload in &sent {
        confirmations.push(publisher.send(&event(payload)).await.unwrap());
    }
    in_time(publisher.flush()).await.unwrap();
    for confirmation in confirmations {
        in_time(confirmation).await.unwrap();
    }
    assert_eq!(fake.stored(), sent);
    assert!(fake.calls().len() < 100, "{}", fake.calls().len());
    // Calls overlap: one after the other would take much longer.
    assert!(started.elapsed() < MS(50), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_message_is_not_sent_again_after_a_later_one_of_its_key() {
    let fake = Fake::scripted(|message, _| match &message.payload[..] {
        b"a1" => Step::Refuse(unavailable(), MS(5)),
        _ => Step::Store(MS(1)),
    });
    let publisher = fake.client().publisher();
    let first = publisher.send(&keyed("a1", "a")).await.unwrap();
    let second = publisher.send(&keyed("a2", "a")).await.unwrap();
    let error = in_time(first).await.unwrap_err();
    assert!(
        !error.is_indeterminate() && error.to_string().contains("not_retried"),
        "{error}"
    );
    in_time(second).await.unwrap();
    assert_eq!(fake.stored(), ["a2"]);
    assert_eq!(fake.calls().concat(), ["a1", "a2"]);
}

#[tokio::test(start_paused = true)]
async fn what_failed_together_is_sent_again_in_order_and_newer_ones_wait() {
    // The broker is away for a second.
    let start = Instant::now();
    let fake = Fake::scripted(move |message, _| {
        let away = start.elapsed() < MS(1000) && message.key.as_deref() == Some(b"a");
        match away {
            true => Step::Refuse(unavailable(), MS(2)),
            false => Step::Store(NOW),
        }
    });
    let publisher = fake.client().publisher();
    for payload in ["a1", "a2"] {
        drop(publisher.send(&keyed(payload, "a")).await.unwrap());
    }
    tokio::time::sleep(MS(10)).await;
    drop(publisher.send(&keyed("a3", "a")).await.unwrap());
    // Another key does not wait.
    let other = publisher.send(&keyed("b1", "b")).await.unwrap();
    in_time(other).await.unwrap();
    assert!(start.elapsed() < MS(20));
    in_time(publisher.flush()).await.unwrap();
    assert_eq!(fake.stored(), ["b1", "a1", "a2", "a3"]);
    let calls = fake.calls();
    let first_a3 = calls.iter().position(|call| call.contains(&"a3".into()));
    assert!(first_a3.is_some_and(|at| calls[at].starts_with(&["a1".into(), "a2".into()])));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_sent_again_passes_newer_ones_that_wait_for_a_call() {
    let fake = Fake::scripted(|message, seen| match (&message.payload[..], seen) {
        (b"a1", 0) => Step::Refuse(unavailable(), MS(1)),
        (b"a1" | b"a2", _) => Step::Store(NOW),
        _ => Step::Store(MS(500)),
    });
    let publisher = fake.client().publisher();
    let _failing = publisher.send(&keyed("a1", "a")).await.unwrap();
    tokio::time::sleep(MS(1)).await;
    // As many slow calls as overlap, so that the next message waits for one of them.
    let slow = async |n: u32| {
        let _slow = publisher.send(&event(&n.to_string())).await.unwrap();
        tokio::task::yield_now().await;
    };
    for n in 0..8 {
        slow(n).await;
    }
    let _newer = publisher.send(&keyed("a2", "a")).await.unwrap();
    in_time(publisher.flush()).await.unwrap();
    let stored = fake.stored();
    assert_eq!(fake.calls().len(), 10, "{:?}", fake.calls());
    assert_eq!(stored[8..], ["a1", "a2"]);
}

#[tokio::test(start_paused = true)]
async fn a_doubtful_message_bars_earlier_ones_from_being_sent_again() {
    let fake = Fake::scripted(|message, seen| match (&message.payload[..], seen) {
        (b"a1", _) => Step::Refuse(unavailable(), MS(1)),
        (b"a2", 0) => Step::Lose(unavailable(), MS(1)),
        _ => Step::Store(NOW),
    });
    let publisher = fake.client().publisher();
    let first = publisher.send(&keyed("a1", "a")).await.unwrap();
    let second = publisher
        .send(&keyed("a2", "a"))
        .dedup_id("2")
        .await
        .unwrap();
    assert!(in_time(first).await.is_err());
    assert!(in_time(second).await.unwrap().duplicate);
    assert_eq!(fake.stored(), ["a2"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_window_waits_or_throttles() {
    for settings in [window(2, 1 << 20), window(100, 2)] {
        let fake = Fake::scripted(|_, _| Step::Store(MS(10)));
        let bus = fake.client_with(settings);
        let publisher = bus.publisher();
        let _first = publisher.try_send(&event("1")).unwrap();
        let _second = publisher.try_send(&event("2")).unwrap();
        let error = publisher.try_send(&event("3")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Throttled);
        assert_eq!(bus.health().await.status, HealthStatus::Degraded);
        // The window is the connection's, not the publisher's.
        let error = bus.publisher().try_send(&event("3")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Throttled);
        let started = Instant::now();
        let third = in_time(publisher.send(&event("3")).into_future())
            .await
            .unwrap();
        assert_eq!(started.elapsed(), MS(10));
        in_time(third).await.unwrap();
        assert_eq!(fake.stored(), ["1", "2", "3"]);
    }
}

#[tokio::test(start_paused = true)]
async fn flush_reports_what_nobody_looked_at() {
    let fake = Fake::scripted(|message, _| match &message.payload[..] {
        b"bad" => Step::Refuse(Error::new(ErrorKind::PermissionDenied, "no"), MS(1)),
        _ => Step::Store(NOW),
    });
    let publisher = fake.client().publisher();
    in_time(publisher.flush()).await.unwrap();
    drop(publisher.send(&event("bad")).await.unwrap());
    let kept = publisher.send(&event("bad")).await.unwrap();
    let error = in_time(publisher.flush()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    // Once, and not for what is still held.
    in_time(publisher.flush()).await.unwrap();
    drop(kept);
    assert!(in_time(publisher.flush()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_is_published_after_the_publisher_is_gone() {
    let fake = Fake::scripted(|_, _| Step::Store(MS(5)));
    let bus = fake.client();
    let publisher = bus.publisher();
    let confirmation = publisher.send(&event("a")).await.unwrap();
    drop(publisher);
    in_time(confirmation).await.unwrap();
    assert_eq!(fake.stored(), ["a"]);
}

#[test]
fn without_its_runtime_a_publisher_is_closed_and_never_hangs() {
    let fake = Fake::scripted(|_, _| Step::Hang);
    let publisher = fake.client().publisher();
    let error = publisher.try_send(&event("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    };
    let first = runtime().unwrap();
    // Wrapped, because a block that gives a future looks like one await too few.
    let (confirmation,) = first.block_on(async {
        let confirmation = publisher.send(&event("a")).await.unwrap();
        tokio::task::yield_now().await;
        (confirmation,)
    });
    drop(first);
    runtime().unwrap().block_on(in_time(async {
        let error = confirmation.await.unwrap_err();
        assert!(error.kind() == ErrorKind::Closed && error.is_indeterminate());
        let error = publisher.send(&event("b")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(publisher.flush().await.is_err());
    }));
}
