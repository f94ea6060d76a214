//! Random programs against a random broker: what may never happen, never happens.

use std::collections::HashMap;
use std::time::Duration;

use bus_api::*;
use fastrand::Rng;

use crate::fake::{Fake, Step, in_time, keyed, text, unavailable};

/// A broker that fails at random, each answer after a random time.
fn moody(seed: u64) -> Fake {
    let mut random = Rng::with_seed(seed);
    Fake::scripted(move |_, _| {
        let delay = Duration::from_millis(random.u64(0..4));
        match random.u32(0..10) {
            0..6 => Step::Store(delay),
            6..8 => Step::Refuse(unavailable(), delay),
            8 => Step::Lose(unavailable(), delay),
            _ => Step::Refuse(Error::new(ErrorKind::PermissionDenied, "no"), delay),
        }
    })
}

#[tokio::test(start_paused = true)]
async fn outcomes_are_true_and_keys_stay_in_order() {
    for seed in 0..200 {
        let fake = moody(seed);
        let publisher = fake.client().publisher();
        let mut random = Rng::with_seed(seed);
        let mut confirmations = Vec::new();
        for n in 0..60_u64 {
            let payload = n.to_string();
            let key = random.u32(0..4).to_string();
            let event = keyed(&payload, &key);
            let send = publisher.send(&event);
            let send = if random.bool() {
                send.dedup_id(payload.as_str())
            } else {
                send
            };
            confirmations.push((payload, send.await.unwrap()));
            if random.u32(0..4) == 0 {
                tokio::time::sleep(Duration::from_millis(random.u64(0..5))).await;
            }
        }
        in_time(publisher.flush()).await.unwrap();
        let mut times = HashMap::new();
        let mut last_of_key = HashMap::new();
        for message in &fake.state().stored {
            let payload = text(message);
            let number: u64 = payload.parse().unwrap();
            *times.entry(payload).or_insert(0) += 1;
            let last = last_of_key.insert(message.key.clone(), number);
            assert!(last < Some(number), "seed {seed}: {last:?} before {number}");
        }
        for (payload, confirmation) in confirmations {
            let stored = times.get(&payload).copied().unwrap_or(0);
            match in_time(confirmation).await {
                Ok(_) => assert_eq!(stored, 1, "seed {seed}: {payload}"),
                Err(error) if error.is_indeterminate() => assert!(stored <= 1),
                Err(error) => assert_eq!(stored, 0, "seed {seed}: {payload}: {error}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cancelling_anything_at_any_time_loses_no_other_message() {
    for seed in 0..200 {
        let mut random = Rng::with_seed(seed);
        let mut delays = random.fork();
        let fake = Fake::scripted(move |_, _| Step::Store(Duration::from_millis(delays.u64(0..4))));
        let bus = fake.client_with(Settings {
            window: 5,
            ..Settings::default()
        });
        let publisher = bus.publisher();
        let mut kept = Vec::new();
        for n in 0..40 {
            let event = keyed(&n.to_string(), "k");
            let patience = Duration::from_millis(random.u64(0..3));
            match random.u32(0..4) {
                // A send that is given up while it waits for room, and a confirmation that is.
                0 => drop(tokio::time::timeout(patience, publisher.send(&event)).await),
                1 => drop(tokio::time::timeout(patience, bus.publish(&event)).await),
                2 => {
                    let events = [keyed(&format!("{n}a"), "k"), event];
                    drop(tokio::time::timeout(patience, bus.publish_batch(&events)).await);
                }
                _ => {
                    let mut confirmation =
                        in_time(publisher.send(&event).into_future()).await.unwrap();
                    drop(tokio::time::timeout(patience, &mut confirmation).await);
                    kept.push((n.to_string(), confirmation));
                }
            }
        }
        in_time(publisher.flush()).await.unwrap();
        let stored = fake.stored();
        for (payload, _) in kept {
            let times = stored.iter().filter(|other| **other == payload).count();
            assert_eq!(times, 1, "seed {seed}: {payload}");
        }
        // Nothing leaked: the whole window is free.
        in_time(bus.close()).await.unwrap();
        assert_eq!(
            bus.health().await.details["client.outstanding_messages"],
            "0"
        );
    }
}
