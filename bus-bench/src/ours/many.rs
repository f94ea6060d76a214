//! Many topics under one subscription, and many subscriptions.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use bus::{BusClient, Raw, Subscription, Topic};
use futures_util::future::{try_join, try_join_all};

use super::{consume, message};
use crate::load::Load;
use crate::side::Sample;
use crate::tally::Tally;
use crate::work::BATCH;

/// Publishes to `topics` topics in turn while each of `subscriptions` receives and settles its share of them. Each topic
/// has had a message before the clock runs: topics are registered and found once in their life.
pub(super) async fn through(
    bus: &BusClient,
    load: &Load,
    topics: usize,
    subscriptions: usize,
) -> Result<Sample> {
    let names: Vec<Topic> = (0..topics)
        .map(|number| {
            Topic::new(format!(
                "{}.{}.t{number}",
                load.root,
                number % subscriptions
            ))
        })
        .collect::<bus::Result<_>>()?;
    let mut joined = Vec::new();
    for number in 0..subscriptions {
        let pattern = format!("{}.{number}.*", load.root);
        joined.push(consume::join(bus, "bench", &pattern).await?);
    }
    let tally = Mutex::new(Tally::new(load.messages));
    pass(bus, load, &names, &mut joined, &tally, 0..topics).await?;
    let begun = Instant::now();
    let counted = topics..load.messages;
    pass(bus, load, &names, &mut joined, &tally, counted).await?;
    let took = begun.elapsed();
    try_join_all(joined.into_iter().map(Subscription::close)).await?;
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Sample::received(took, [&tally]))
}

async fn pass(
    bus: &BusClient,
    load: &Load,
    topics: &[Topic],
    joined: &mut [Subscription<Raw>],
    tally: &Mutex<Tally>,
    numbers: Range<usize>,
) -> Result<()> {
    let share = numbers.len() / joined.len();
    let publishing = async {
        let publisher = bus.publisher();
        for number in numbers {
            let topic = &topics[number % topics.len()];
            drop(publisher.send(&message(topic, load, number)).await?);
        }
        anyhow::Ok(publisher.flush().await?)
    };
    let receiving = try_join_all(joined.iter_mut().map(|one| settle(one, share, tally)));
    try_join(publishing, receiving).await?;
    Ok(())
}

async fn settle(
    subscription: &mut Subscription<Raw>,
    share: usize,
    tally: &Mutex<Tally>,
) -> Result<()> {
    let mut left = share;
    while left > 0 {
        let received = subscription
            .next_batch(left.min(BATCH))
            .await
            .context("it ended")??;
        left -= received.len();
        {
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            for one in &received {
                tally.take(&one.event().payload);
            }
        }
        try_join_all(received.into_iter().map(bus::Received::ack)).await?;
    }
    Ok(())
}
