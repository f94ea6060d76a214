//! Subscriptions without a group: readers with positions of their own, of which the server knows nothing.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bus_api::adapter::{Backoff, BroadcastSettler, Leave, Leaving};
use bus_api::cloudevents::Extent;
use bus_api::{
    Delivery, Inbound, Inflow, Offset, Pattern, Paused, Receipt, Receiver, Result,
    SubscriptionSpec, Topic,
};
use redis::Pipeline;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::core::Core;
use crate::error::{closed, is_final};
use crate::registry::Interest;
use crate::shared::{EndsWith, Shared};
use crate::start::{self, StoredStart};
use crate::value::{entries, id};
use crate::{link, wire};

const SWEEP: Duration = Duration::from_secs(1);
/// Topics looked at in one sweep beyond which it is spread over several.
const SLICE: usize = 256;
/// Most messages of one read.
const MOST: usize = 256;
const WHAT: &str = "reading messages";

/// One broadcast subscriber.
#[derive(Debug)]
struct Listener {
    core: Arc<Core>,
    shared: Arc<Shared>,
    pattern: Pattern,
    dirty: Mutex<HashSet<Topic>>,
    leaving: watch::Sender<bool>,
}

impl Interest for Listener {
    fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    fn hinted(&self, topic: &Topic) {
        self.change(|dirty| {
            dirty.insert(topic.clone());
        });
    }

    fn stirred(&self, _root: &str, _sub: &str) {}

    fn missed(&self) {
        let topics = self.core.registry.matching(&self.pattern);
        self.change(|dirty| dirty.extend(topics));
    }
}

impl Listener {
    fn change(&self, change: impl FnOnce(&mut HashSet<Topic>)) {
        change(&mut self.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.driver.notify_one();
    }

    fn take_dirty(&self, most: usize) -> Vec<Topic> {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        let taken: Vec<Topic> = dirty.iter().take(most).cloned().collect();
        for topic in &taken {
            dirty.remove(topic);
        }
        taken
    }
}

#[async_trait]
impl Leave for Listener {
    async fn leave(&self, _deadline: Instant) -> Result<()> {
        self.leaving.send_replace(true);
        self.shared.end(closed());
        Ok(())
    }
}

pub(crate) async fn subscribe(
    core: &Arc<Core>,
    leaving: &Leaving,
    spec: SubscriptionSpec,
) -> Result<Inbound> {
    start::check(core, &spec.start).await?;
    let start = StoredStart::new(&spec.start)?;
    let topics: Vec<Topic> = core.registry.matching(&spec.pattern).into_iter().collect();
    let positions = resolve(core, &start, &topics).await?;
    let listener = Arc::new(Listener {
        core: Arc::clone(core),
        shared: Arc::default(),
        pattern: spec.pattern.clone(),
        dirty: Mutex::new(topics.into_iter().collect()),
        leaving: watch::Sender::new(false),
    });
    let interest: Arc<dyn Interest> = listener.clone();
    core.registry.register(&interest);
    leaving.add(&listener);
    let guard = Arc::new(Guard(Arc::clone(&listener)));
    core.life.spawn(run(listener, start, positions));
    Ok(Inbound {
        receiver: Box::new(BroadcastReceiver(Arc::clone(&guard))),
        settler: Arc::new(BroadcastSettler::new(guard)),
        lease: spec.lease,
        paused: Paused::never(),
    })
}

/// Where each topic that is there begins, exclusively.
async fn resolve(
    core: &Core,
    start: &StoredStart,
    topics: &[Topic],
) -> Result<BTreeMap<Topic, String>> {
    let mut positions = BTreeMap::new();
    for topics in topics.chunks(1_024) {
        let mut pipeline = Pipeline::new();
        let mut asked = Vec::new();
        for topic in topics {
            let from = start.resolve(topic, true);
            if from == "$" {
                pipeline
                    .cmd("XREVRANGE")
                    .arg(core.keys.stream(topic))
                    .arg("+")
                    .arg("-")
                    .arg("COUNT")
                    .arg(1);
                asked.push(topic);
            } else {
                positions.insert(topic.clone(), from);
            }
        }
        let replies = core.control.run_all(&pipeline).await?;
        for (topic, reply) in asked.into_iter().zip(replies) {
            let last = entries(link::ok(reply)?, WHAT)?;
            let from = last
                .first()
                .map_or_else(|| "0-0".to_owned(), |(last, _)| id(*last));
            positions.insert(topic.clone(), from);
        }
    }
    Ok(positions)
}

async fn run(listener: Arc<Listener>, start: StoredStart, mut positions: BTreeMap<Topic, String>) {
    let _anchor = listener.core.hold();
    let _ends = EndsWith(Arc::clone(&listener.shared));
    let mut backoff = Backoff::default();
    let mut sweep_at = Instant::now() + SWEEP;
    let mut swept = 0;
    while !listener.core.life.is_over() && !*listener.leaving.borrow() {
        let woken = listener.shared.driver.notified();
        if sweep_at <= Instant::now() {
            sweep_at = Instant::now() + SWEEP;
            let topics = listener.core.registry.matching(&listener.pattern);
            let slice = SLICE.max(topics.len() / 4);
            swept = if swept >= topics.len() { 0 } else { swept };
            let part: Vec<Topic> = topics.iter().skip(swept).take(slice).cloned().collect();
            swept += slice;
            listener.change(|dirty| dirty.extend(part));
        }
        match read(&listener, &start, &mut positions).await {
            Ok(true) => backoff.reset(),
            Ok(false) => {
                backoff.reset();
                tokio::select! {
                    () = woken => {}
                    () = tokio::time::sleep_until(sweep_at) => {}
                    () = listener.core.life.ended() => {}
                }
            }
            Err(error) if is_final(&error) => {
                listener.shared.end(error);
                return;
            }
            Err(error) => {
                tracing::debug!(%error, pattern = %listener.pattern, "a broadcast waits for the server");
                listener.missed();
                backoff.wait(&listener.core.life, None).await;
            }
        }
    }
}

/// Reads what is new of topics that may have some; false when there is nothing to do.
async fn read(
    listener: &Listener,
    start: &StoredStart,
    positions: &mut BTreeMap<Topic, String>,
) -> Result<bool> {
    let room = listener.shared.room().min(MOST);
    if room == 0 {
        return Ok(false);
    }
    let topics = listener.take_dirty(room);
    if topics.is_empty() {
        return Ok(false);
    }
    let each = (room / topics.len()).max(1);
    let mut pipeline = Pipeline::new();
    for topic in &topics {
        let from = positions
            .entry(topic.clone())
            .or_insert_with(|| start.resolve(topic, false));
        let from = if from == "0" {
            "-".to_owned()
        } else {
            format!("({from}")
        };
        pipeline
            .cmd("XRANGE")
            .arg(listener.core.keys.stream(topic))
            .arg(from)
            .arg("+")
            .arg("COUNT")
            .arg(each);
    }
    let replies = match listener.core.reading.run_all(&pipeline).await {
        Ok(replies) => replies,
        Err(failed) => {
            listener.change(|dirty| dirty.extend(topics));
            return Err(failed);
        }
    };
    let mut found = Vec::new();
    let mut failed = None;
    for (topic, reply) in topics.into_iter().zip(replies) {
        // What was read of the others is handed over all the same.
        let entries = match link::ok(reply).and_then(|reply| entries(reply, WHAT)) {
            Ok(entries) => entries,
            Err(error) if error.is_retryable() => {
                failed = Some(error);
                continue;
            }
            Err(error) => {
                tracing::warn!(%topic, %error, "a stream cannot be read");
                continue;
            }
        };
        if entries.len() == each {
            listener.change(|dirty| {
                dirty.insert(topic.clone());
            });
        }
        if let Some((last, _)) = entries.last() {
            positions.insert(topic.clone(), id(*last));
        }
        for (offset, fields) in entries {
            found.push((topic.clone(), delivery(&topic, offset, &fields)?));
        }
    }
    listener.shared.push(found, 0, false, false);
    failed.map_or(Ok(true), Err)
}

fn delivery(topic: &Topic, offset: Offset, fields: &crate::value::Fields) -> Result<Delivery> {
    let position = wire::position(topic, offset);
    let decoded = wire::read(topic, &position, fields, Extent::Usual)?;
    Ok(Delivery {
        receipt: Receipt { slot: 0, epoch: 0 },
        message: Arc::new(decoded.message),
        position,
        delivery: 1,
        redelivered: false,
        not_before: None,
        record: None,
        malformed: decoded.malformed,
    })
}

/// Ends the subscriber when the last half is dropped.
#[derive(Debug)]
struct Guard(Arc<Listener>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.leaving.send_replace(true);
        self.0.shared.driver.notify_one();
    }
}

#[async_trait]
impl Leave for Guard {
    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.0.leave(deadline).await
    }
}

#[derive(Debug)]
struct BroadcastReceiver(Arc<Guard>);

#[async_trait]
impl Receiver for BroadcastReceiver {
    async fn receive(&mut self, max: usize) -> Result<Inflow> {
        self.0.0.shared.receive(max).await
    }
}
