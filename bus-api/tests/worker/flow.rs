//! How much runs at a time, in which order, and pausing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bus_api::State;

use crate::support::*;

#[derive(Clone, Default)]
struct Gauge {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

async fn busy(_: Placed, State(gauge): State<Gauge>) {
    let now = gauge.now.fetch_add(1, Ordering::Relaxed) + 1;
    gauge.most.fetch_max(now, Ordering::Relaxed);
    tokio::time::sleep(ms(10)).await;
    gauge.now.fetch_sub(1, Ordering::Relaxed);
}

#[tokio::test(start_paused = true)]
async fn concurrency_bounds_the_handlers() {
    within(async {
        for concurrency in [1, 7] {
            let (bus, gauge) = (bus(), Gauge::default());
            let worker = bus
                .worker("mail")
                .state(gauge.clone())
                .on(busy)
                .concurrency(concurrency);
            let _running = worker.start().await.unwrap();
            for id in 0..50 {
                bus.publish(&Placed { id }).await.unwrap();
            }
            settled(&bus, "mail").await;
            assert_eq!(gauge.most.load(Ordering::Relaxed), concurrency as usize);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_key_is_handled_one_at_a_time() {
    within(async {
        let (bus, gauge) = (bus(), Gauge::default());
        let _running = bus
            .worker("mail")
            .state(gauge.clone())
            .on(busy)
            .start()
            .await
            .unwrap();
        for _ in 0..20 {
            bus.publish(&Placed { id: 1 }).await.unwrap();
        }
        settled(&bus, "mail").await;
        assert_eq!(gauge.most.load(Ordering::Relaxed), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_worker_takes_nothing_new_and_idle_waits_for_the_rest() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let running = bus
            .worker("mail")
            .state(noter)
            .on(async |e: Placed, State(n): State<Noter<u64>>| {
                tokio::time::sleep(secs(1)).await;
                n.note(e.id);
            })
            .start()
            .await
            .unwrap();
        bus.publish(&Placed { id: 1 }).await.unwrap();
        while running.in_flight() == 0 {
            tokio::time::sleep(ms(1)).await;
        }
        running.pause();
        running.idle().await;
        assert_eq!(running.in_flight(), 0);
        assert_eq!(notes.next().await, 1);
        bus.publish(&Placed { id: 2 }).await.unwrap();
        tokio::time::sleep(secs(100)).await;
        // One that was being fetched when the worker paused may still come.
        let before = notes.none();
        running.resume();
        if before {
            assert_eq!(notes.next().await, 2);
        }
        settled(&bus, "mail").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_listens_to_all_topics_of_its_types() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let _running = bus
            .worker("mail")
            .state(noter)
            .on(async |e: Placed, State(n): State<Noter<u64>>| n.note(e.id))
            .on(async |e: Cancelled, State(n): State<Noter<u64>>| n.note(e.id))
            .on(async |e: MailSent, State(n): State<Noter<u64>>| n.note(e.id))
            .start()
            .await
            .unwrap();
        assert_eq!(bus.subscriptions().list().await.unwrap().len(), 3);
        for round in 0..10 {
            bus.publish(&Placed { id: 3 * round }).await.unwrap();
            bus.publish(&Cancelled { id: 3 * round + 1 }).await.unwrap();
            bus.publish(&MailSent { id: 3 * round + 2 }).await.unwrap();
        }
        let mut seen = notes.take(30).await;
        seen.sort_unstable();
        assert_eq!(seen, (0..30).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn broadcast_workers_all_get_every_message_and_leave_nothing_behind() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let mut running = Vec::new();
        for _ in 0..3 {
            let worker = bus.broadcast_worker("cache").state(noter.clone());
            let worker = worker.on(async |e: Placed, State(n): State<Noter<u64>>| n.note(e.id));
            running.push(worker.start().await.unwrap());
        }
        bus.publish(&Placed { id: 1 }).await.unwrap();
        assert_eq!(notes.take(3).await, [1, 1, 1]);
        for running in running {
            assert_eq!(running.shutdown(secs(1)).await.handled, 1);
        }
        assert!(bus.subscriptions().list().await.unwrap().is_empty());
    })
    .await;
}
