//! Many groups, many topics.

use std::time::Instant;

use anyhow::Result;
use bus::{BusClient, Raw, Subscription};
use futures_util::future::{try_join, try_join_all};

use super::{consume, publish};
use crate::load::Load;
use crate::side::Sample;
use crate::tally::Tally;
use crate::work::BATCH;

/// Publishes to `topics` topics while each of `groups` groups receives and settles everything.
pub(super) async fn spread(
    bus: &BusClient,
    load: &Load,
    topics: usize,
    groups: usize,
) -> Result<Sample> {
    let pattern = if topics == 1 {
        load.root.clone()
    } else {
        format!("{}.*.done", load.root)
    };
    let mut subscriptions = Vec::new();
    for group in 0..groups {
        subscriptions.push(consume::join(bus, &format!("bench{group}"), &pattern).await?);
    }
    let begun = Instant::now();
    let reading = try_join_all(
        subscriptions
            .into_iter()
            .map(|subscription| all(subscription, load.messages)),
    );
    let (read, ()) = try_join(reading, publish::fill(bus, load, topics)).await?;
    let took = begun.elapsed();
    let mut tallies = Vec::new();
    for (subscription, tally) in read {
        subscription.close().await?;
        tallies.push(tally);
    }
    Ok(Sample::received(took, &tallies))
}

async fn all(
    mut subscription: Subscription<Raw>,
    messages: usize,
) -> Result<(Subscription<Raw>, Tally)> {
    let mut tally = Tally::new(messages);
    while !tally.is_complete() {
        consume::settle_some(&mut subscription, BATCH, &mut tally).await?;
    }
    Ok((subscription, tally))
}
