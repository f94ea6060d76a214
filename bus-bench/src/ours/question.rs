//! Request and reply.

use std::time::Duration;

use anyhow::Result;
use bus::{BusClient, Event, Request};
use serde::{Deserialize, Serialize};

use crate::load::Load;
use crate::side::{Calls, Sample};

#[derive(Serialize, Deserialize, Event)]
#[event(type = "bench.question", topic = "bench.question")]
struct Question(u64);

impl Request for Question {
    type Reply = u64;
}

pub(super) async fn ask(bus: &BusClient, load: &Load) -> Result<Sample> {
    let responder = bus
        .worker("bench")
        .respond(async |question: Question| question.0 + 1);
    let running = responder.start().await?;
    let mut right = 0;
    let mut calls = Calls::begin(load.messages);
    for number in 0..load.messages as u64 {
        right += u64::from(bus.request(&Question(number)).await? == number + 1);
        calls.tick();
    }
    running.shutdown(Duration::from_secs(5)).await;
    Ok(Sample {
        lost: load.messages as u64 - right,
        ..calls.sample()
    })
}
