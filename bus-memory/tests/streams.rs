//! Streams and workers over this transport: nothing is lost, doubled or counted that should not be.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus_api::{
    BusClient, Codec, Error, ErrorKind, Event, EventType, Failure, Filter, Group, Jitter, Order,
    Pattern, Raw, Retry, Settings, Start, Subscription, SubscriptionId, Topic,
};
use bus_memory::{Config, MemoryBus};
use bytes::Bytes;
use common::within;
use tokio::time::{Instant, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// A number on the topic `numbers.KEY`; the payload is its decimal form.
#[derive(Debug, PartialEq)]
struct Number(u64);

impl Event for Number {
    fn types() -> bus_api::Result<Vec<EventType>> {
        Ok(vec![EventType::new("number", Pattern::new("numbers.*")?)])
    }
    fn event_type(&self) -> Cow<'static, str> {
        "number".into()
    }
    fn topic(&self) -> bus_api::Result<Topic> {
        Topic::new(format!("numbers.{}", self.0 % 2))
    }
    fn key(&self) -> Option<Bytes> {
        None
    }
    fn encode(&self, _codec: &dyn Codec) -> bus_api::Result<Bytes> {
        Ok(self.0.to_string().into())
    }
    fn decode(_: Option<&str>, payload: &Bytes, _: &dyn Codec) -> bus_api::Result<Self> {
        std::str::from_utf8(payload)
            .ok()
            .and_then(|text| text.parse().ok())
            .map(Self)
            .ok_or_else(|| Error::new(ErrorKind::Decode, "no number"))
    }
}

fn client(bus: &MemoryBus) -> BusClient {
    BusClient::new(Arc::new(bus.connect()), Settings::default())
}

fn memory() -> MemoryBus {
    MemoryBus::with(Config::default())
}

fn raw(topic: &str, payload: u64) -> Raw {
    let topic = Topic::new(topic).unwrap();
    Raw::new(topic, "number", "application/json", payload.to_string())
}

async fn publish(client: &BusClient, topic: &str, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        client.publish(&raw(topic, number)).await.unwrap();
    }
}

fn number(payload: &Bytes) -> u64 {
    std::str::from_utf8(payload).unwrap().parse().unwrap()
}

async fn idle<E>(stream: &mut Subscription<E>) {
    assert!(timeout(SECOND, stream.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn r7_twenty_drains_with_prefetched_messages_then_attempt_1() {
    within(async {
        let bus = memory();
        let client = client(&bus);
        let join = || client.subscribe::<Raw>("g").pattern("a");
        drop(join().await.unwrap().close().await);
        publish(&client, "a", 0..50).await;
        for _ in 0..20 {
            let mut stream = join().await.unwrap();
            let first = stream.next().await.unwrap().unwrap();
            assert_eq!((first.attempt(), first.delivery() >= 1), (1, true));
            first.defer(Duration::ZERO).await.unwrap();
            stream.close().await.unwrap();
        }
        let mut stream = join().await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 50 {
            for received in stream.next_batch(50).await.unwrap().unwrap() {
                assert_eq!(received.attempt(), 1);
                seen.push(number(&received.event().payload));
                received.ack().await.unwrap();
            }
        }
        idle(&mut stream).await;
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..50));
        assert!(client.dead_letters("g").is_empty().await);
    })
    .await;
}

/// Whether a group has no dead letters.
trait IsEmpty {
    async fn is_empty(&self) -> bool;
}

impl IsEmpty for bus_api::DeadLetters {
    async fn is_empty(&self) -> bool {
        self.page(&Filter::default(), None, 10)
            .await
            .unwrap()
            .entries
            .is_empty()
    }
}

#[tokio::test(start_paused = true)]
async fn a5_a_delivery_held_for_three_leases_is_not_delivered_twice() {
    within(async {
        let bus = memory();
        let client = client(&bus);
        let lease = Duration::from_millis(90);
        let join = || client.subscribe::<Raw>("g").pattern("a").lease(lease);
        let (mut one, mut two) = (join().await.unwrap(), join().await.unwrap());
        publish(&client, "a", [1]).await;
        let held = one.next().await.unwrap().unwrap();
        assert!(timeout(lease * 10, two.next()).await.is_err());
        held.ack().await.unwrap();
        idle(&mut one).await;
        idle(&mut two).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a6_what_a_dead_member_held_comes_to_another_within_a_lease() {
    within(async {
        let bus = memory();
        let (process, client) = (bus.connect(), client(&bus));
        let lease = Duration::from_millis(300);
        let dying = BusClient::new(Arc::new(process.clone()), Settings::default());
        let mut one = dying
            .subscribe::<Raw>("g")
            .pattern("a")
            .lease(lease)
            .await
            .unwrap();
        publish(&client, "a", 0..5).await;
        let held = one.next().await.unwrap().unwrap();
        let mut two = client
            .subscribe::<Raw>("g")
            .pattern("a")
            .lease(lease)
            .await
            .unwrap();
        let died = Instant::now();
        process.kill();
        let mut seen = Vec::new();
        while seen.len() < 5 {
            let received = two.next().await.unwrap().unwrap();
            seen.push(number(&received.event().payload));
            received.ack().await.unwrap();
        }
        assert!(died.elapsed() <= 2 * lease);
        // What the dead one says now does not count.
        assert!(held.ack().await.is_err());
        assert!(one.next().await.unwrap().is_err());
        idle(&mut two).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn o3_permits_bound_what_is_held() {
    within(async {
        let bus = memory();
        let client = client(&bus);
        let join = || client.subscribe::<Raw>("g").pattern("a").max_in_flight(10);
        let mut stream = join().await.unwrap();
        publish(&client, "a", 0..100).await;
        let mut held = Vec::new();
        while let Ok(next) = timeout(10 * SECOND, stream.next()).await {
            held.push(next.unwrap().unwrap());
        }
        assert_eq!(held.len(), 10);
        // A stalled member takes nothing from another one.
        let mut other = join().await.unwrap();
        for _ in 10..100 {
            other.next().await.unwrap().unwrap().ack().await.unwrap();
        }
        for received in held {
            received.ack().await.unwrap();
        }
        idle(&mut stream).await;
        idle(&mut other).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn o2_nothing_of_a_key_starts_before_the_earlier_one_is_settled() {
    within(async {
        let bus = memory();
        let client = client(&bus);
        let retry = Retry::exponential(SECOND, SECOND)
            .attempts(9)
            .jitter(Jitter::None);
        let join = || {
            client
                .subscribe::<Raw>("g")
                .pattern("a")
                .order(Order::PerKey)
                .retry(retry.clone())
        };
        let mut streams = [join().await.unwrap(), join().await.unwrap()];
        for number in 0..60_u64 {
            let message = raw("a", number).with_key(format!("k{}", number % 3));
            client.publish(&message).await.unwrap();
        }
        // Per key: what is running, and what was settled last.
        let mut running: BTreeMap<u64, bool> = BTreeMap::new();
        let mut settled: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut random = 7_u64;
        let started = Instant::now();
        while settled.values().map(Vec::len).sum::<usize>() < 60 {
            for stream in &mut streams {
                let Ok(next) = timeout(Duration::from_millis(50), stream.next()).await else {
                    continue;
                };
                let received = next.unwrap().unwrap();
                let number = number(&received.event().payload);
                let key = number % 3;
                assert!(!running.insert(key, true).unwrap_or(false), "{key}");
                let done = settled.entry(key).or_default();
                assert_eq!(number, 3 * done.len() as u64 + key, "the next of its key");
                tokio::time::sleep(Duration::from_millis(5)).await;
                running.insert(key, false);
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                if random >> 62 == 0 && received.attempt() < 8 {
                    received.nack_after(SECOND).await.unwrap();
                } else {
                    done.push(number);
                    received.ack().await.unwrap();
                }
            }
            assert!(started.elapsed() < 600 * SECOND);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn r3_what_cannot_be_decoded_is_a_dead_letter_and_other_types_are_skipped() {
    within(async {
        let bus = memory();
        let client = client(&bus);
        let mut stream = client.subscribe::<Number>("g").await.unwrap();
        let topic = Topic::new("numbers.1").unwrap();
        let wrong = Raw::new(topic.clone(), "number", "application/json", "one");
        let other = Raw::new(topic, "letter", "application/json", "a");
        client.publish(&wrong).await.unwrap();
        client.publish(&other).await.unwrap();
        client.publish(&Number(3)).await.unwrap();
        let received = stream.next().await.unwrap().unwrap();
        assert_eq!((received.event(), received.attempt()), (&Number(3), 1));
        received.ack().await.unwrap();
        stream.close().await.unwrap();
        let dead = client.dead_letters("g");
        let page = dead.page(&Filter::default(), None, 10).await.unwrap();
        assert_eq!(page.entries.len(), 1);
        let entry = &page.entries[0];
        assert_eq!((&*entry.error.kind, entry.attempts), (Failure::DECODE, 1));
        assert_eq!(entry.message.payload, "one");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a4_a_dropped_delivery_is_tried_again_and_at_last_a_dead_letter() {
    within(async {
        let bus = memory();
        let client = client(&bus);
        let retry = Retry::exponential(SECOND, 9 * SECOND)
            .attempts(3)
            .jitter(Jitter::None);
        let mut stream = client.subscribe::<Number>("g").retry(retry).await.unwrap();
        client.publish(&Number(1)).await.unwrap();
        let started = Instant::now();
        for attempt in 1..=3 {
            let (envelope, token) = stream.next().await.unwrap().unwrap().into_parts();
            assert_eq!((envelope.attempt, token.attempt()), (attempt, attempt));
            drop(token);
        }
        assert!(started.elapsed() >= 3 * SECOND);
        idle(&mut stream).await;
        let page = client
            .dead_letters("g")
            .page(&Filter::default(), None, 10)
            .await
            .unwrap();
        assert_eq!(page.entries.len(), 1);
        assert_eq!(page.entries[0].attempts, 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn s5_a_broadcast_gets_everything_and_tries_again_by_itself() {
    within(async {
        let bus = memory();
        let client = client(&bus);
        let mut one = client.broadcast::<Number>().await.unwrap();
        let mut two = client.broadcast::<Number>().await.unwrap();
        for number in 0..10 {
            client.publish(&Number(number)).await.unwrap();
        }
        for stream in [&mut one, &mut two] {
            let first = stream.next().await.unwrap().unwrap();
            assert_eq!(first.event(), &Number(0));
            first.nack().await.unwrap();
            let mut seen = Vec::new();
            while seen.len() < 10 {
                let received = stream.next().await.unwrap().unwrap();
                seen.push((received.event().0, received.attempt()));
                received.ack().await.unwrap();
            }
            seen.sort_unstable();
            assert_eq!(seen[0], (0, 2));
            assert!(seen[1..].iter().all(|(_, attempt)| *attempt == 1));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn s8_deleting_ends_the_stream_with_not_found() {
    within(async {
        let bus = memory();
        let client = client(&bus);
        let mut stream = client.subscribe::<Number>("g").await.unwrap();
        let id = SubscriptionId::new(Group::new("g").unwrap(), Pattern::new("numbers.*").unwrap());
        client.adapter().admin().delete(&id, true).await.unwrap();
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(stream.next().await.is_none());
        stream.close().await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn mistakes_are_named_when_joining() {
    within(async {
        let client = client(&memory());
        let kind = |result: bus_api::Result<Subscription<Raw>>| result.unwrap_err().kind();
        let plain = || client.subscribe::<Raw>("g");
        assert_eq!(kind(plain().await), ErrorKind::InvalidConfig);
        let overlapping = plain().pattern("a.>").pattern("a.b");
        assert_eq!(kind(overlapping.await), ErrorKind::InvalidConfig);
        assert_eq!(kind(plain().pattern("a..b").await), ErrorKind::InvalidTopic);
        let group = client.subscribe::<Raw>("g h").pattern("a");
        assert_eq!(kind(group.await), ErrorKind::InvalidTopic);
        let lease = plain().pattern("a").lease(Duration::from_millis(1));
        assert_eq!(kind(lease.await), ErrorKind::InvalidConfig);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn several_patterns_make_one_stream() {
    within(async {
        let client = client(&memory());
        let mut stream = client
            .subscribe::<Raw>("g")
            .pattern("a")
            .pattern("b.>")
            .await
            .unwrap();
        publish(&client, "a", 0..10).await;
        publish(&client, "b.c", 10..20).await;
        let mut seen = Vec::new();
        let batch = stream.next_batch(15).await.unwrap().unwrap();
        assert_eq!(batch.len(), 15);
        for received in batch {
            seen.push(number(&received.event().payload));
            received.ack().await.unwrap();
        }
        while seen.len() < 20 {
            let received = stream.next().await.unwrap().unwrap();
            seen.push(number(&received.event().payload));
            received.ack().await.unwrap();
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..20));
        stream.close().await.unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_task_is_left_after_close_or_drop() {
    within(async {
        let metrics = tokio::runtime::Handle::current().metrics();
        let client = client(&memory());
        publish(&client, "a", [0]).await;
        let before = metrics.num_alive_tasks();
        for round in 0..10 {
            let mut stream = client.subscribe::<Raw>("g").pattern("a").await.unwrap();
            publish(&client, "a", 0..20).await;
            let held = stream.next().await.unwrap().unwrap();
            if round % 2 == 0 {
                held.ack().await.unwrap();
                stream.close().await.unwrap();
            } else {
                drop(stream);
                held.ack().await.unwrap();
            }
            while metrics.num_alive_tasks() > before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn closing_the_bus_ends_streams_and_hands_back() {
    within(async {
        let bus = memory();
        let (first, second) = (client(&bus), client(&bus));
        let mut stream = first.subscribe::<Raw>("g").pattern("a").await.unwrap();
        publish(&second, "a", 0..10).await;
        let held = stream.next().await.unwrap().unwrap();
        let closing = tokio::spawn(async move { first.close().await });
        // What was handed out before the news came would fail when dropped.
        tokio::time::sleep(SECOND).await;
        assert!(stream.next().await.is_none());
        held.ack().await.unwrap();
        drop(stream);
        closing.await.unwrap().unwrap();
        let mut stream = second.subscribe::<Raw>("g").pattern("a").await.unwrap();
        let received = stream.next().await.unwrap().unwrap();
        assert_eq!(received.attempt(), 1);
    })
    .await;
}

/// A message that aborts the process, with many others prefetched: it ends as the only dead letter, and
/// every other message is handled once.
#[tokio::test(start_paused = true)]
async fn r4_one_message_that_kills_its_process_is_the_only_dead_letter() {
    within(async {
        let bus = memory();
        let client = client(&bus);
        const ALL: u64 = 200;
        const POISON: u64 = 77;
        let handled: Arc<Mutex<BTreeMap<u64, u32>>> = Arc::default();
        let runs = Arc::new(AtomicU32::new(0));
        let lease = Duration::from_millis(300);
        let mut published = false;
        for life in 0..20 {
            let process = bus.connect();
            let dying = BusClient::new(Arc::new(process.clone()), Settings::default());
            let dead = Arc::new(tokio::sync::Notify::new());
            let killed = Arc::new(AtomicBool::new(false));
            let work = {
                let (handled, runs, dead, killed) =
                    (handled.clone(), runs.clone(), dead.clone(), killed.clone());
                move |message: Raw| {
                    let (handled, runs, dead, killed) =
                        (handled.clone(), runs.clone(), dead.clone(), killed.clone());
                    async move {
                        let number = number(&message.payload);
                        // Others take a moment, so that many run beside the one that kills.
                        tokio::time::sleep(Duration::from_millis(number % 7)).await;
                        if number == POISON || killed.load(Ordering::SeqCst) {
                            if number == POISON {
                                runs.fetch_add(1, Ordering::SeqCst);
                                killed.store(true, Ordering::SeqCst);
                                dead.notify_one();
                            }
                            std::future::pending::<()>().await;
                        }
                        *handled.lock().unwrap().entry(number).or_default() += 1;
                    }
                }
            };
            let worker = dying
                .worker("g")
                .pattern("a")
                .fallback(work)
                .lease(lease)
                .concurrency(32)
                .start_at(Start::Earliest)
                .start()
                .await
                .unwrap();
            if !std::mem::replace(&mut published, true) {
                publish(&client, "a", 0..ALL).await;
            }
            tokio::select! {
                () = dead.notified() => {
                    process.kill();
                    drop(worker);
                }
                () = worker.idle() => {
                    worker.shutdown(SECOND).await;
                    assert!(life > 0);
                    break;
                }
            }
        }
        let handled = handled.lock().unwrap().clone();
        assert_eq!(handled.len() as u64, ALL - 1);
        assert!(handled.values().all(|times| *times == 1), "{handled:?}");
        assert_eq!(runs.load(Ordering::SeqCst), 6);
        let page = client
            .dead_letters("g")
            .page(&Filter::default(), None, 10)
            .await
            .unwrap();
        assert_eq!(page.entries.len(), 1);
        assert_eq!(&*page.entries[0].error.kind, Failure::CRASH);
    })
    .await;
}
