//! Members that come, go, fail and give up waiting on several threads: nothing is lost, doubled or stuck.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus_api::{Bus, Delivery, Inbound, Inflow, Order, Settlement, SubscriptionSpec};
use bus_memory::MemoryBus;
use common::{body, group, keyed};

const MESSAGES: usize = 20_000;
const MEMBERS: u64 = 6;
const KEYS: usize = 50;

/// Numbers that differ from seed to seed: xorshift.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What was acked, in order of the acks of each lane.
type Acked = Arc<Mutex<HashMap<String, Vec<usize>>>>;

async fn member(bus: MemoryBus, spec: SubscriptionSpec, seed: u64, acked: Acked) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    loop {
        let mut inbound = bus.subscribe(spec.clone()).await.unwrap();
        for _ in 0..dice.roll(40) {
            let max = 1 + usize::try_from(dice.roll(30)).unwrap();
            let patience = Duration::from_micros(dice.roll(300));
            let wait = inbound.receiver.receive(max);
            let Ok(inflow) = tokio::time::timeout(patience, wait).await else {
                continue;
            };
            if let Inflow::Deliveries(deliveries) = inflow.unwrap() {
                work(&inbound, deliveries, &mut dice, &acked).await;
            }
        }
        if dice.roll(3) > 0 {
            inbound
                .settler
                .leave(tokio::time::Instant::now())
                .await
                .unwrap();
        }
    }
}

fn work(
    inbound: &Inbound,
    deliveries: Vec<Delivery>,
    dice: &mut Dice,
    acked: &Acked,
) -> impl Future<Output = ()> + use<> {
    let mut batch = Vec::new();
    for delivery in deliveries {
        let after = Duration::from_micros(dice.roll(3) * 500);
        batch.push(match dice.roll(10) {
            0 => (
                delivery.receipt,
                Settlement::Requeue {
                    after,
                    record: None,
                },
            ),
            1 => (delivery.receipt, Settlement::Release),
            // Kept until the member leaves.
            2 => continue,
            _ => {
                let lane = delivery.message.topic.to_string()
                    + std::str::from_utf8(delivery.message.key.as_ref().unwrap()).unwrap();
                let number = body(&delivery).parse().unwrap();
                acked.lock().unwrap().entry(lane).or_default().push(number);
                (delivery.receipt, Settlement::Ack)
            }
        });
    }
    let settler = Arc::clone(&inbound.settler);
    async move {
        for result in settler.settle(batch).await {
            result.unwrap();
        }
    }
}

async fn run(order: Order) {
    let bus = MemoryBus::new();
    let spec = SubscriptionSpec {
        order,
        // No lease ends in time to cover up for something that is stuck.
        lease: Duration::from_secs(3600),
        ..group("g", ">")
    };
    drop(bus.subscribe(spec.clone()).await.unwrap());
    let acked = Acked::default();
    let members: Vec<_> = (0..MEMBERS)
        .map(|seed| {
            tokio::spawn(member(
                bus.clone(),
                spec.clone(),
                seed + 1,
                Arc::clone(&acked),
            ))
        })
        .collect();
    for number in 0..MESSAGES {
        let (topic, key) = (format!("t.{}", number % 3), format!("k{}", number % KEYS));
        let message = keyed(&topic, &key, &number.to_string());
        bus.publish(vec![message]).await.remove(0).unwrap();
        if number % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
    tokio::time::timeout(Duration::from_secs(60), bus.settled())
        .await
        .expect("something is stuck");
    for member in &members {
        member.abort();
    }
    for member in members {
        assert!(member.await.unwrap_err().is_cancelled());
    }
    assert!(bus.leftovers().is_empty());
    let acked = acked.lock().unwrap();
    let mut all: Vec<_> = acked.values().flatten().copied().collect();
    all.sort_unstable();
    assert_eq!(all, (0..MESSAGES).collect::<Vec<_>>());
    if order == Order::PerKey {
        assert!(acked.values().all(|lane| lane.is_sorted()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_doubled_or_stuck() {
    run(Order::None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_stay_in_order_on_several_threads() {
    run(Order::PerKey).await;
}
