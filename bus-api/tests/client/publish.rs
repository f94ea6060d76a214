use std::time::{Duration, SystemTime};

use bus_api::*;
use tokio::time::Instant;

use crate::fake::{Fake, Step, event, in_time, unavailable};

fn assert_send<T: Send + 'static>(value: T) -> T {
    value
}

#[tokio::test(start_paused = true)]
async fn what_was_certainly_not_stored_is_sent_again() {
    let fake = Fake::scripted(|_, seen| match seen {
        0..3 => Step::Refuse(unavailable(), Duration::ZERO),
        _ => Step::Store(Duration::ZERO),
    });
    let publish = assert_send(fake.client().publish(&event("a")));
    let confirmed = in_time(assert_send(publish.into_future())).await.unwrap();
    assert!(!confirmed.duplicate && confirmed.position.is_some());
    assert_eq!(fake.calls(), vec![vec!["a".to_owned()]; 4]);
    assert_eq!(fake.state().stored[0].metadata.id, confirmed.id);
}

#[tokio::test(start_paused = true)]
async fn what_may_be_stored_is_sent_again_only_under_a_dedup_id() {
    let lossy = || {
        Fake::scripted(|_, seen| match seen {
            0 => Step::Lose(unavailable(), Duration::ZERO),
            _ => Step::Store(Duration::ZERO),
        })
    };
    let fake = lossy();
    let error = in_time(fake.client().publish(&event("a")).into_future()).await;
    assert!(error.unwrap_err().is_indeterminate());
    assert_eq!(fake.calls().len(), 1);

    let fake = lossy();
    let publish = fake.client().publish(&event("a")).dedup_id("1");
    assert!(in_time(publish.into_future()).await.unwrap().duplicate);
    assert_eq!((fake.calls().len(), fake.stored().len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn it_is_given_up_after_the_publish_timeout() {
    let fake = Fake::scripted(|_, _| Step::Refuse(unavailable(), Duration::ZERO));
    let started = Instant::now();
    let error = in_time(fake.client().publish(&event("a")).into_future()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.is_indeterminate());
    let took = started.elapsed();
    assert!(
        (Duration::from_secs(27)..=Duration::from_secs(30)).contains(&took),
        "{took:?}"
    );
    assert!(fake.calls().len() > 10);

    let fake = Fake::scripted(|_, _| Step::Hang);
    let started = Instant::now();
    let error = in_time(fake.client().publish(&event("a")).into_future()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.is_indeterminate());
    assert_eq!(started.elapsed(), Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_work_is_refused_before_anything_is_sent() {
    let (fake, plain) = (Fake::new(), Fake::new().without_dedup());
    let (bus, without_dedup) = (fake.client(), plain.client());
    let a = event("a");
    let most = "x".repeat(1024);
    let cases = [
        (
            bus.publish(&event(&(most.clone() + "x"))),
            ErrorKind::TooLarge,
        ),
        (
            bus.publish(&a).header("h", "x".repeat(64 << 10)),
            ErrorKind::TooLarge,
        ),
        (
            bus.publish(&a).subject("x".repeat(64 << 10)),
            ErrorKind::TooLarge,
        ),
        (
            without_dedup.publish(&a).dedup_id("1"),
            ErrorKind::Unsupported,
        ),
        (bus.publish(&a).dedup_id(""), ErrorKind::InvalidArgument),
        (
            bus.publish(&a).id(MessageId::new("")),
            ErrorKind::InvalidArgument,
        ),
        (
            bus.publish(&a).header("ce-id", "1"),
            ErrorKind::InvalidArgument,
        ),
        (
            bus.publish(&a).header("bus-topic", "1"),
            ErrorKind::InvalidArgument,
        ),
        (
            bus.publish(&a).header("No", "1"),
            ErrorKind::InvalidArgument,
        ),
        (
            bus.publish(&a).expires_in(Duration::from_micros(999)),
            ErrorKind::InvalidArgument,
        ),
    ];
    for (publish, kind) in cases {
        let error = in_time(publish.into_future()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!error.is_indeterminate());
    }
    assert!(fake.calls().is_empty() && plain.calls().is_empty());
    in_time(bus.publish(&event(&most)).into_future())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn options_arrive() {
    let fake = Fake::new();
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_000_001_999);
    let trace = TraceContext {
        traceparent: "00-1-2-01".into(),
        tracestate: None,
    };
    let publish = fake
        .client()
        .publish(&event("a"))
        .header("tenant", " a\n")
        .key("k")
        .id(MessageId::new("id"))
        .dedup_id("d")
        .expires_in(Duration::from_micros(9_500))
        .subject("s")
        .dataschema("ds")
        .time(time)
        .correlation_id("co")
        .causation_id("ca")
        .trace(trace.clone());
    in_time(publish.into_future()).await.unwrap();
    let message = fake.state().stored.remove(0);
    assert_eq!(message.headers.get("tenant"), Some(" a\n"));
    assert_eq!(message.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(message.dedup_id.as_deref(), Some("d"));
    let metadata = message.metadata.clone();
    assert_eq!(metadata.id, MessageId::new("id"));
    assert_eq!(metadata.event_type.as_deref(), Some("test.happened"));
    assert_eq!(metadata.content_type.as_deref(), Some("text/plain"));
    assert_eq!(metadata.expires_in, Some(Duration::from_millis(9)));
    let texts = [
        metadata.subject,
        metadata.dataschema,
        metadata.correlation_id,
        metadata.causation_id,
    ];
    assert_eq!(
        texts.map(Option::unwrap).map(String::from),
        ["s", "ds", "co", "ca"]
    );
    assert_eq!(
        metadata.time,
        SystemTime::UNIX_EPOCH + Duration::from_micros(1_000_001)
    );
    assert_eq!(metadata.trace, Some(trace));
}
