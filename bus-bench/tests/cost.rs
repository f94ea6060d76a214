//! What a message costs on memory in allocations and instructions: numbers that a busy machine does not
//! change. A tenth more than what was measured last fails.
#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::process::Command;
use std::rc::Rc;

use bus::{BusClient, Raw, Start, Subscription, Topic};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

/// Messages before counting: buffers have their sizes by then.
const BEFORE: usize = 2_000;
const COUNTED: usize = 1_000;
const BATCH: usize = 100;

fn message(topic: &str) -> Raw {
    Raw::new(
        Topic::new(topic).unwrap(),
        "bench.message",
        "application/octet-stream",
        // Shared by all: no allocation of its own.
        bytes::Bytes::from_static(&[b'x'; 256]),
    )
}

async fn send(bus: BusClient, count: usize) {
    let (publisher, message) = (bus.publisher(), message("sent"));
    for _ in 0..count {
        drop(publisher.send(&message).await.unwrap());
    }
    publisher.flush().await.unwrap();
}

async fn one_by_one(bus: BusClient, stream: Rc<Mutex<Subscription<Raw>>>, count: usize) {
    let (mut stream, message) = (stream.lock().await, message("bench"));
    for _ in 0..count {
        bus.publish(&message).await.unwrap();
        let received = stream.next().await.unwrap().unwrap();
        received.ack().await.unwrap();
    }
}

async fn in_batches(bus: BusClient, stream: Rc<Mutex<Subscription<Raw>>>, count: usize) {
    let (mut stream, message) = (stream.lock().await, message("bench"));
    for _ in 0..count / BATCH {
        let batch = std::iter::repeat_n(&message, BATCH);
        for result in bus.publish_batch(batch).await {
            result.unwrap();
        }
        let mut left = BATCH;
        while left > 0 {
            let received = stream.next_batch(left).await.unwrap().unwrap();
            left -= received.len();
            let acks: Vec<_> = received.into_iter().map(bus::Received::ack).collect();
            for ack in acks {
                ack.await.unwrap();
            }
        }
    }
}

/// Runs `work` until it is warm, then counts what another run of it allocates: hundredths for each message.
fn counted<F: Future<Output = ()>>(runtime: &Runtime, work: impl Fn(usize) -> F) -> u64 {
    runtime.block_on(work(BEFORE));
    let info = allocation_counter::measure(|| runtime.block_on(work(COUNTED)));
    info.count_total * 100 / COUNTED as u64
}

/// What is measured, what it is now, and what it was last.
type Cost = (&'static str, u64, u64);

/// Fails when something is a tenth above what it was. What got cheaper belongs into this file, so that it
/// stays.
fn check(unit: &str, costs: &[Cost]) {
    let wrong: Vec<_> = costs
        .iter()
        .filter(|(_, now, was)| now * 10 > was * 11)
        .map(|(what, now, was)| format!("{what}: {now}, was {was}"))
        .collect();
    assert!(
        wrong.is_empty(),
        "{unit} for each message are more than a tenth above what they were: {wrong:?}"
    );
}

#[test]
fn a_message_allocates_no_more_than_before() {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    let bus = runtime.block_on(bus::connect("memory://")).unwrap();
    let joining = bus.subscribe::<Raw>("bench").pattern("bench");
    let stream = runtime.block_on(joining.start_at(Start::Earliest).into_future());
    let stream = Rc::new(Mutex::new(stream.unwrap()));
    let sent = counted(&runtime, |count| send(bus.clone(), count));
    let single = counted(&runtime, |count| {
        one_by_one(bus.clone(), Rc::clone(&stream), count)
    });
    let batches = counted(&runtime, |count| {
        in_batches(bus.clone(), Rc::clone(&stream), count)
    });
    let costs = [
        ("many in flight", sent, 213),
        ("one by one", single, 700),
        ("in batches", batches, 116),
    ];
    check("hundredths of allocations", &costs);
}

/// Instructions of `messages` messages of the benchmark, as callgrind counts them.
fn instructions(work: &str, messages: usize) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env!("CARGO_BIN_EXE_bus-bench"))
        .args(["--bus=memory://", "--alone", "--rounds=1", "--payload=256"])
        .args(["--only", work])
        .arg(format!("--messages={messages}"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let line = text
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    line.unwrap().1.trim().parse().unwrap()
}

/// Instructions of each further message: what starting takes is not in it.
fn instructions_each(work: &str) -> u64 {
    (instructions(work, 2_500) - instructions(work, 500)) / 2_000
}

/// Without optimisation, as tests are built; another compiler may make other numbers, which then belong
/// here.
#[test]
fn a_message_takes_no_more_instructions_than_before() {
    let has_valgrind = Command::new("valgrind").arg("--version").output().is_ok();
    if !has_valgrind || cfg!(not(debug_assertions)) {
        return;
    }
    let costs = [("many in flight", 20_296), ("ack in batches", 25_641)]
        .map(|(work, was)| (work, instructions_each(work), was));
    check("instructions", &costs);
}
