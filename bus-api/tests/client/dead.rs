use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bus_api::*;
use tokio::time::Instant;

use crate::fake::{Fake, Step, in_time, unavailable};

/// Entry number `n` (1-based) of the group `mail`: even ones bounced.
fn letter(n: u32) -> DeadLetter {
    let id = MessageId::new(&format!("m{n}"));
    let mut metadata = Metadata::new(id, "test".into(), SystemTime::UNIX_EPOCH);
    metadata.event_type = Some("order.placed".into());
    metadata.content_type = Some("application/octet-stream".into());
    let topic = Topic::new(if n.is_multiple_of(3) {
        "orders.eu"
    } else {
        "orders.us"
    })
    .unwrap();
    let mut message = Message::new(topic, metadata, format!("p{n}").into());
    message.key = Some("k".into());
    message.headers.insert("tenant", "a").unwrap();
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(n));
    let origin = Origin {
        position: Position::new("log".into(), Offset(u64::from(n), 0), at),
        stored_at: at,
    };
    let subscription = SubscriptionId::new(
        Group::new("mail").unwrap(),
        Pattern::new("orders.>").unwrap(),
    );
    let topic = message.topic.as_str();
    DeadLetter {
        id: DeadLetterId::derive(&subscription, topic, &message.metadata.id, &origin, 0),
        subscription,
        message: Arc::new(message),
        origin,
        generation: 0,
        attempts: n,
        error: match n % 2 {
            0 => Failure::new(Failure::HANDLER, "550 bounced"),
            _ => Failure::new(Failure::TIMEOUT, "too slow"),
        },
        first_failure: at,
        last_failure: at,
    }
}

fn filled(fake: &Fake, count: u32) -> DeadLetters {
    fake.state().letters = (1..=count).map(letter).collect();
    fake.client().dead_letters("mail")
}

fn numbers<'a>(entries: impl IntoIterator<Item = &'a DeadEntry>) -> Vec<u32> {
    entries.into_iter().map(|entry| entry.attempts).collect()
}

#[tokio::test(start_paused = true)]
async fn one_filter_selects() {
    let fake = Fake::new();
    let dead = filled(&fake, 12);
    let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
    let all = Filter::default;
    for (filter, expected) in [
        (all(), (1..=12).collect::<Vec<_>>()),
        (all().topic("*.eu"), vec![3, 6, 9, 12]),
        (all().topic("*.eu").error_contains("550"), vec![6, 12]),
        (all().error_kind(Failure::TIMEOUT).since(at(9)), vec![9, 11]),
        (all().until(at(3)), vec![1, 2]),
        (all().pattern("orders.eu"), vec![]),
        (
            all()
                .pattern("orders.>")
                .event_type("order.placed")
                .until(at(2)),
            vec![1],
        ),
        (all().event_type("order.cancelled"), vec![]),
        (
            all().id(letter(5).id).id(letter(2).id).id(letter(5).id),
            vec![5, 2],
        ),
        (all().id(letter(5).id).error_contains("550"), vec![]),
        (all().id(letter(99).id), vec![]),
    ] {
        let page = in_time(dead.page(&filter, None, 100)).await.unwrap();
        assert_eq!(numbers(&page.entries), expected, "{filter:?}");
        assert_eq!(page.next, None);
        let count = in_time(dead.count(&filter)).await.unwrap();
        assert_eq!(count, expected.len() as u64);
    }
    let error = in_time(dead.count(&all().topic("a..b"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTopic);
    let nobody = fake.client().dead_letters("no group");
    let error = in_time(nobody.redrive(&all()).into_future())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTopic);
}

#[tokio::test(start_paused = true)]
async fn pages_are_exact_and_survive_removals() {
    let fake = Fake::new();
    let dead = filled(&fake, 1000);
    let bounced = Filter::default().error_contains("550");
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let page = in_time(dead.page(&bounced, cursor.as_ref(), 7))
            .await
            .unwrap();
        let full = page.entries.len() == 7;
        seen.extend(numbers(&page.entries));
        // What was seen is removed: the next page starts after it all the same.
        let ids: Vec<_> = page.entries.iter().map(|entry| entry.id).collect();
        fake.state()
            .letters
            .retain(|entry| !ids.contains(&entry.id));
        assert!(full || page.next.is_none());
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, (1..=500).map(|n| n * 2).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_redrive_copies_for_one_subscription_and_removes_the_entry() {
    let fake = Fake::new();
    let dead = filled(&fake, 4);
    let redrive = dead.redrive(&Filter::default().error_contains("550"));
    let report = in_time(redrive.into_future()).await.unwrap();
    assert_eq!(
        (report.matched, report.done, report.failed.len()),
        (2, 2, 0)
    );
    let state = fake.state();
    assert_eq!(
        state
            .letters
            .iter()
            .map(|entry| entry.attempts)
            .collect::<Vec<_>>(),
        [1, 3]
    );
    let (copy, entry) = (&state.stored[0], letter(2));
    assert_eq!(
        (
            &copy.topic,
            &copy.key,
            &copy.payload,
            &copy.headers,
            &copy.metadata
        ),
        (
            &entry.message.topic,
            &entry.message.key,
            &entry.message.payload,
            &entry.message.headers,
            &entry.message.metadata
        )
    );
    assert_eq!(
        copy.dedup_id.as_deref(),
        Some(&*format!("redrive-{}", entry.id))
    );
    let targeted = copy.targeted.as_deref().unwrap();
    assert_eq!(targeted.subscription, entry.subscription);
    assert_eq!((&targeted.origin, targeted.generation), (&entry.origin, 1));
    assert!(targeted.record.is_none() && targeted.not_before.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_redrive_repeated_after_a_crash_stores_one_copy() {
    let fake = Fake::new();
    let dead = filled(&fake, 3);
    fake.state().removals_fail = true;
    let report = in_time(dead.redrive(&Filter::default()).into_future())
        .await
        .unwrap();
    assert_eq!(
        (report.matched, report.done, report.failed.len()),
        (3, 0, 3)
    );
    assert!(report.failed[0].1.is_indeterminate());
    assert_eq!(fake.state().letters.len(), 3);
    fake.state().removals_fail = false;
    let report = in_time(dead.redrive(&Filter::default()).into_future())
        .await
        .unwrap();
    assert_eq!((report.matched, report.done), (3, 3));
    assert_eq!(fake.stored(), ["p1", "p2", "p3"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_stored_stays_a_dead_letter() {
    let fake = Fake::scripted(|message, _| match &message.payload[..] {
        b"p2" => Step::Refuse(
            Error::new(ErrorKind::PermissionDenied, "no"),
            Duration::ZERO,
        ),
        _ => Step::Store(Duration::ZERO),
    })
    .without_dedup();
    let dead = filled(&fake, 3);
    let report = in_time(dead.redrive(&Filter::default()).into_future())
        .await
        .unwrap();
    assert_eq!((report.matched, report.done), (3, 2));
    assert_eq!(report.failed[0].0, letter(2).id);
    assert_eq!(fake.state().letters, [letter(2)]);
    assert!(
        fake.state()
            .stored
            .iter()
            .all(|copy| copy.dedup_id.is_none())
    );
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_fails_again_is_left_alone_by_the_same_redrive() {
    let fake = Fake::new();
    let shared = fake.clone();
    let dead = filled(&fake, 150);
    let redrive = dead.redrive(&Filter::default()).on_progress(move |_| {
        // The handler is still broken: every copy fails at once.
        let mut state = shared.state();
        let copies = std::mem::take(&mut state.stored);
        for copy in copies {
            let targeted = copy.targeted.clone().unwrap();
            let topic = copy.topic.as_str();
            let id = &copy.metadata.id;
            let attempts = 1000 + targeted.origin.position.offset().0 as u32;
            state.letters.push(DeadLetter {
                id: DeadLetterId::derive(
                    &targeted.subscription,
                    topic,
                    id,
                    &targeted.origin,
                    targeted.generation,
                ),
                generation: targeted.generation,
                subscription: targeted.subscription,
                origin: targeted.origin,
                message: copy,
                attempts,
                ..letter(1)
            });
        }
    });
    let report = in_time(redrive.into_future()).await.unwrap();
    assert_eq!((report.matched, report.done), (150, 150));
    assert_eq!(fake.state().letters.len(), 150);
}

#[tokio::test(start_paused = true)]
async fn dry_run_rate_limit_and_progress() {
    let fake = Fake::new();
    let dead = filled(&fake, 20);
    let all = Filter::default();
    let report = in_time(dead.redrive(&all).dry_run().into_future())
        .await
        .unwrap();
    assert_eq!((report.matched, report.done), (20, 0));
    let report = in_time(dead.purge(&all).dry_run().into_future())
        .await
        .unwrap();
    assert_eq!((report.matched, report.done), (20, 0));
    assert!(fake.stored().is_empty());
    assert_eq!(fake.state().letters.len(), 20);

    let progress = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&progress);
    let started = Instant::now();
    let redrive = dead
        .redrive(&all)
        .limit(11)
        .rate(10)
        .on_progress(move |counts| {
            seen.lock().unwrap().push(counts.done);
        });
    let report = in_time(redrive.into_future()).await.unwrap();
    assert_eq!((report.matched, report.done), (11, 11));
    assert_eq!(started.elapsed(), Duration::from_secs(1));
    assert_eq!(*progress.lock().unwrap(), (1..=11).collect::<Vec<_>>());

    let slow = Filter::default().error_kind(Failure::TIMEOUT);
    let report = in_time(dead.purge(&slow).into_future()).await.unwrap();
    assert_eq!((report.matched, report.done), (4, 4));
    let report = in_time(dead.purge(&all).into_future()).await.unwrap();
    assert_eq!((report.matched, report.done), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn an_edited_entry_goes_back_with_its_new_payload() {
    let fake = Fake::new();
    let dead = filled(&fake, 2);
    let entry = in_time(dead.get(letter(1).id)).await.unwrap().unwrap();
    assert_eq!(entry.decode::<Raw>().unwrap().payload, "p1");
    fake.state().removals_fail = true;
    let first = in_time(dead.redrive_edited(entry.id, "new"))
        .await
        .unwrap_err();
    assert_eq!(first.kind(), unavailable().kind());
    fake.state().removals_fail = false;
    in_time(dead.redrive_edited(entry.id, "new")).await.unwrap();
    assert_eq!(fake.stored(), ["new"]);
    let error = in_time(dead.redrive_edited(entry.id, "new"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let other = Raw::new(
        Topic::new("x").unwrap(),
        "order.fixed",
        "text/plain",
        "better",
    );
    in_time(dead.redrive_as(letter(2).id, &other))
        .await
        .unwrap();
    let copy = fake.state().stored.remove(1);
    assert_eq!(
        (copy.topic.as_str(), &copy.payload[..]),
        ("orders.us", &b"better"[..])
    );
    assert_eq!(copy.metadata.event_type.as_deref(), Some("order.fixed"));
    assert_eq!(copy.metadata.id, letter(2).message.metadata.id);
    assert!(fake.state().letters.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_entry_exports_as_plain_fields() {
    let fake = Fake::new();
    let dead = filled(&fake, 1);
    let entry = in_time(dead.get(letter(1).id)).await.unwrap().unwrap();
    let json = serde_json::to_value(entry.export()).unwrap();
    assert_eq!(json["group"], "mail");
    assert_eq!(json["payload"]["text"], "p1");
    assert_eq!(json["headers"]["tenant"], "a");
    assert_eq!(json["last_failure"], "1970-01-01T00:00:01Z");
    assert_eq!(json["error_kind"], "timeout");
}
