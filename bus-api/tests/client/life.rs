use std::time::Duration;

use bus_api::*;
use tokio::time::Instant;

use crate::fake::{Fake, Step, event, in_time};

#[tokio::test(start_paused = true)]
async fn close_waits_for_what_was_sent_and_then_everything_is_closed() {
    let fake = Fake::scripted(|_, _| Step::Store(Duration::from_millis(50)));
    let bus = fake.client();
    let publisher = bus.publisher();
    let confirmation = publisher.send(&event("a")).await.unwrap();
    let publish = tokio::spawn(bus.publish(&event("b")).into_future());
    tokio::task::yield_now().await;
    in_time(bus.close()).await.unwrap();
    in_time(bus.close()).await.unwrap();
    in_time(confirmation).await.unwrap();
    in_time(publish).await.unwrap().unwrap();
    assert!(fake.state().closed);

    let id = SubscriptionId::new(Group::new("mail").unwrap(), Pattern::all());
    let everything = [
        bus.publish(&event("c")).await.map(drop),
        bus.publish_batch(&[event("c")]).await.remove(0).map(drop),
        publisher.send(&event("c")).await.map(drop),
        publisher.try_send(&event("c")).map(drop),
        bus.topics().await.map(drop),
        bus.add_topic(&Topic::new("a").unwrap()).await,
        bus.subscriptions().list().await.map(drop),
        bus.subscriptions().forced().delete(&id).await,
        bus.subscriptions().reset(&id, &Start::Earliest).await,
        bus.dead_letter_groups().await.map(drop),
        bus.dead_letters("mail")
            .count(&Filter::default())
            .await
            .map(drop),
        bus.dead_letters("mail")
            .redrive(&Filter::default())
            .await
            .map(drop),
        bus.dead_letters("mail")
            .purge(&Filter::default())
            .await
            .map(drop),
    ];
    for (call, result) in everything.into_iter().enumerate() {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Closed, "call {call}");
    }
    let health = bus.health().await;
    assert_eq!(health.status, HealthStatus::Down);
    assert!(!health.writable);
    assert_eq!(fake.stored(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn close_gives_up_at_its_deadline() {
    let fake = Fake::scripted(|_, _| Step::Hang);
    let bus = fake.client();
    let publisher = bus.publisher();
    let confirmation = publisher.send(&event("a")).await.unwrap();
    let started = Instant::now();
    let error = in_time(bus.close_within(Duration::from_secs(3))).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(started.elapsed(), Duration::from_secs(3));
    assert!(fake.state().closed);
    assert!(in_time(confirmation).await.unwrap_err().is_indeterminate());
}

#[tokio::test(start_paused = true)]
async fn subscriptions_are_operated_with_and_without_force() {
    let bus = Fake::new().client();
    let id = SubscriptionId::new(Group::new("mail").unwrap(), Pattern::all());
    let error = in_time(bus.subscriptions().get(&id)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let plain = in_time(bus.subscriptions().delete(&id)).await.unwrap_err();
    assert!(plain.to_string().contains("mail on > false"), "{plain}");
    let forced = in_time(bus.subscriptions().forced().reset(&id, &Start::Latest)).await;
    assert!(forced.unwrap_err().to_string().contains("mail on > true"));
}

#[tokio::test(start_paused = true)]
async fn notices_are_heard_and_remembered() {
    let bus = Fake::new().client();
    let mut notices = bus.notices();
    bus.adapter().notices().report(Notice::Disconnected);
    assert_eq!(in_time(notices.recv()).await.unwrap(), Notice::Disconnected);
    assert_eq!(bus.health().await.notices.len(), 1);
}
