use std::time::Duration;

use bus_api::*;

use crate::fake::{Fake, Step, event, in_time, unavailable};

#[tokio::test(start_paused = true)]
async fn one_result_per_event_and_one_bad_event_fails_alone() {
    let fake = Fake::scripted(|message, seen| match (&message.payload[..], seen) {
        (b"no", _) => Step::Refuse(
            Error::new(ErrorKind::PermissionDenied, "no"),
            Duration::ZERO,
        ),
        (b"later", 0) => Step::Refuse(unavailable(), Duration::ZERO),
        _ => Step::Store(Duration::ZERO),
    });
    let large = "x".repeat(1025);
    let events: Vec<_> = ["a", &large, "later", "no", "b"].map(event).into();
    let results = in_time(fake.client().publish_batch(&events).into_future()).await;
    let kinds: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().err().map(Error::kind))
        .collect();
    let (large, denied) = (ErrorKind::TooLarge, ErrorKind::PermissionDenied);
    assert_eq!(kinds, [None, Some(large), None, Some(denied), None]);
    assert_eq!(fake.stored(), ["a", "b", "later"]);
    for (confirmed, at) in [(&results[0], 0), (&results[4], 1), (&results[2], 2)] {
        assert_eq!(
            confirmed.as_ref().unwrap().id,
            fake.state().stored[at].metadata.id
        );
    }
    let none: [Raw; 0] = [];
    assert!(
        in_time(fake.client().publish_batch(&none).into_future())
            .await
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_larger_than_the_window_goes_through_in_order() {
    let fake = Fake::scripted(|_, _| Step::Store(Duration::from_millis(1)));
    let bus = fake.client_with(Settings {
        window: 7,
        ..Settings::default()
    });
    let sent: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let events: Vec<_> = sent.iter().map(|payload| event(payload)).collect();
    let results = in_time(bus.publish_batch(&events).into_future()).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(fake.stored(), sent);
}
