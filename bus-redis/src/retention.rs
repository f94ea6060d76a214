//! How long messages are kept (K1 to K3).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus_api::{
    Error, ErrorKind, Notice, Offset, Result, RetentionMode, SubscriptionId, Topic, WhenFull,
};
use redis::{Pipeline, Value};
use tokio::time::Instant;

use crate::admin::{records, topics};
use crate::core::Core;
use crate::error::{error, senseless};
use crate::link;
use crate::script::{self, TRIM};
use crate::start::SubRecord;
use crate::value::{Take, before, entries, id, millis};

const WHAT: &str = "looking after retention";
/// How long a measurement of the namespace is trusted.
const FRESH: Duration = Duration::from_millis(200);
/// How long whoever found no room is asked to wait. Asking whether there is room takes some rounds to the server;
/// a publish that is cut off in the middle of one cannot say that nothing was stored.
const FULL_FOR: Duration = Duration::from_secs(1);
/// How often what everybody has settled is removed.
const SETTLED_EVERY: Duration = Duration::from_millis(500);
/// Messages that one look for the oldest takes from each topic.
const OLDEST: usize = 128;

/// Removes one stream's messages before `cut`; with `settled` only what every durable subscription has
/// settled. Says how many went, and reports what was dropped unsettled.
async fn trim(
    core: &Core,
    subscriptions: &Subscriptions,
    topic: &Topic,
    cut: &str,
    settled: bool,
) -> Result<i64> {
    let records: Vec<_> = subscriptions
        .iter()
        .filter(|(id, _)| id.pattern.matches(topic))
        .collect();
    if settled && records.is_empty() {
        return Ok(0);
    }
    let (stream, dropped) = (core.keys.stream(topic), core.keys.dropped(topic.root()));
    let mut call = script::call(&TRIM, [stream.as_str(), dropped.as_str()]);
    call.arg(cut).arg(u8::from(settled));
    for (id, record) in &records {
        let sub = id.broker_name();
        let keys = core.keys.subscription(topic.root(), &sub);
        let start = match record.start.resolve(topic, false) {
            start if start == "0" => "0-0".to_owned(),
            start => start,
        };
        call.arg(sub).arg(start).arg(keys.park).arg(keys.records);
    }
    let parts = match core.control.run(&call).await {
        Ok(reply) => reply.array(WHAT)?,
        // A topic without a stream: there is nothing to remove.
        Err(error) if error.kind() == ErrorKind::Internal => return Ok(0),
        Err(error) => return Err(error),
    };
    let removed = parts.first().ok_or_else(|| senseless(WHAT))?.int(WHAT)?;
    for ((id, _), count) in records.into_iter().zip(parts.iter().skip(1)) {
        let messages = u64::try_from(count.int(WHAT)?).unwrap_or(0);
        if messages > 0 {
            core.life.notices().report(Notice::Dropped {
                subscription: id.clone(),
                messages,
            });
        }
    }
    Ok(removed)
}

/// The durable subscriptions of the namespace.
type Subscriptions = Vec<(SubscriptionId, SubRecord)>;

async fn all_topics(core: &Core) -> Result<Vec<Topic>> {
    Ok(topics(core).await?.into_values().flatten().collect())
}

/// Removes what every durable subscription has settled.
async fn trim_settled(core: &Core) -> Result<()> {
    for topic in all_topics(core).await? {
        // Asked for each topic: what a subscription that was just made has not settled stays.
        let subscriptions = records(core).await?;
        let end = format!("{}-0", 1_u64 << 52);
        trim(core, &subscriptions, &topic, &end, true).await?;
    }
    Ok(())
}

/// Removes what is older than its age.
async fn trim_aged(core: &Core) -> Result<()> {
    let time = core.control.run(&redis::cmd("TIME").take()).await?;
    let now = u64::try_from(millis(time, WHAT)?).unwrap_or(0);
    let age = u64::try_from(core.config.settings.retention.age.as_millis()).unwrap_or(u64::MAX);
    let cut = format!("{}-0", now.saturating_sub(age));
    let subscriptions = records(core).await?;
    for topics in all_topics(core).await?.chunks(1_024) {
        let mut pipeline = Pipeline::new();
        for topic in topics {
            pipeline
                .cmd("XRANGE")
                .arg(core.keys.stream(topic))
                .arg("-")
                .arg(format!("({cut}"))
                .arg("COUNT")
                .arg(1);
        }
        let replies = core.control.run_all(&pipeline).await?;
        for (topic, reply) in topics.iter().zip(replies) {
            if !entries(link::ok(reply)?, WHAT)?.is_empty() {
                while trim(core, &subscriptions, topic, &cut, false).await? >= 10_000 {}
            }
        }
    }
    Ok(())
}

/// Starts the task that looks after age and settled messages; of all processes with the same settings one
/// does it at a time.
pub(crate) fn start(core: &Arc<Core>) {
    let keeper = Arc::clone(core);
    core.life.spawn(async move { keep(&keeper).await });
}

async fn keep(core: &Core) {
    let retention = &core.config.settings.retention;
    let by_age = (retention.age / 10).clamp(Duration::from_millis(250), Duration::from_secs(30));
    let settled = retention.mode == RetentionMode::Settled;
    let every = if settled {
        by_age.min(SETTLED_EVERY)
    } else {
        by_age
    };
    let name = format!("{}-{}", u8::from(settled), retention.age.as_millis());
    let mut last_aged: Option<Instant> = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = core.life.ended() => return,
        }
        let lease = u64::try_from(every.as_millis() / 2).unwrap_or(1).max(1);
        let command = redis::cmd("SET")
            .arg(core.keys.keeper(&name))
            .arg(1)
            .arg("NX")
            .arg("PX")
            .arg(lease)
            .take();
        let work = async {
            if matches!(core.control.run(&command).await?, Value::Nil) {
                return Ok(());
            }
            if settled {
                trim_settled(core).await?;
            }
            if last_aged.is_none_or(|last| last.elapsed() >= by_age) {
                last_aged = Some(Instant::now());
                trim_aged(core).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = work.await {
            tracing::debug!(%error, "retention could not be looked after");
        }
    }
}

/// The limits of count and bytes, as the publisher keeps them.
pub(crate) struct Limits {
    count: Option<u64>,
    bytes: Option<u64>,
    when_full: WhenFull,
    settled: bool,
    room: usize,
    measured: Option<Instant>,
    trimmed: Option<Instant>,
    /// The option to raise.
    named: &'static str,
}

/// What a namespace holds.
struct Held {
    topics: Vec<Topic>,
    count: u64,
    bytes: u64,
}

impl Limits {
    pub(crate) fn new(core: &Core) -> Self {
        let retention = &core.config.settings.retention;
        Self {
            count: retention.count,
            bytes: retention.bytes,
            when_full: retention.when_full,
            settled: retention.mode == RetentionMode::Settled,
            room: 0,
            measured: None,
            trimmed: None,
            named: "retention.count",
        }
    }

    /// Whether there is any limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.count.is_some() || self.bytes.is_some()
    }

    async fn measure(&self, core: &Core) -> Result<Held> {
        let topics = all_topics(core).await?;
        let mut held = Held {
            count: 0,
            bytes: 0,
            topics,
        };
        let mut pipeline = Pipeline::new();
        for topic in &held.topics {
            pipeline.cmd("XLEN").arg(core.keys.stream(topic));
        }
        for reply in core.control.run_all(&pipeline).await? {
            held.count += u64::try_from(link::ok(reply)?.int(WHAT)?).unwrap_or(0);
        }
        if self.bytes.is_some() {
            let mut pipeline = Pipeline::new();
            for topic in &held.topics {
                pipeline
                    .cmd("MEMORY")
                    .arg("USAGE")
                    .arg(core.keys.stream(topic))
                    .arg("SAMPLES")
                    .arg(0);
            }
            for reply in core.control.run_all(&pipeline).await? {
                if let Value::Int(bytes) = link::ok(reply)? {
                    held.bytes += u64::try_from(bytes).unwrap_or(0);
                }
            }
        }
        Ok(held)
    }

    /// How many messages may be stored now, of `wanted`.
    pub(crate) async fn room(&mut self, core: &Core, wanted: usize) -> Result<usize> {
        if !self.is_limited() || self.when_full != WhenFull::Reject || wanted == 0 {
            return Ok(wanted);
        }
        let fresh = self.measured.is_some_and(|at| at.elapsed() < FRESH);
        if !fresh || self.room < wanted {
            self.room = self.look(core).await?;
            if self.room < wanted && self.settled {
                // What everybody has settled makes room.
                if self.trimmed.is_none_or(|at| at.elapsed() >= FRESH) {
                    self.trimmed = Some(Instant::now());
                    trim_settled(core).await?;
                    self.room = self.look(core).await?;
                }
            }
        }
        Ok(self.room.min(wanted))
    }

    async fn look(&mut self, core: &Core) -> Result<usize> {
        let held = self.measure(core).await?;
        self.measured = Some(Instant::now());
        if self.bytes.is_some_and(|limit| held.bytes >= limit) {
            self.named = "retention.bytes";
            return Ok(0);
        }
        let left = self.count.map(|limit| limit.saturating_sub(held.count));
        self.named = "retention.count";
        let by_count = left.map_or(usize::MAX, |left| {
            usize::try_from(left).unwrap_or(usize::MAX)
        });
        // A limit of bytes is looked at again after some messages.
        Ok(by_count.min(if self.bytes.is_some() { 64 } else { usize::MAX }))
    }

    /// Why a message is refused.
    pub(crate) fn full(&self) -> Error {
        let advice = if self.settled {
            ", or let subscriptions settle"
        } else {
            ", or set `retention.full=drop_oldest`"
        };
        error(
            ErrorKind::Throttled,
            format!("the namespace is full; raise `{}`{advice}", self.named),
        )
        .retry_after(FULL_FOR)
    }

    /// Messages were stored: they use room, or push out the oldest.
    pub(crate) async fn stored(&mut self, core: &Core, count: usize) {
        if !self.is_limited() || count == 0 {
            return;
        }
        self.room = self.room.saturating_sub(count);
        if self.when_full == WhenFull::DropOldest
            && let Err(error) = self.drop_oldest(core).await
        {
            tracing::debug!(%error, "the oldest messages could not be dropped");
        }
    }

    async fn drop_oldest(&self, core: &Core) -> Result<()> {
        loop {
            let held = self.measure(core).await?;
            let by_count = self
                .count
                .map_or(0, |limit| held.count.saturating_sub(limit));
            let by_bytes = self.bytes.map_or(0, |limit| {
                let over = held.bytes.saturating_sub(limit);
                let each = (held.bytes / held.count.max(1)).max(1);
                over.div_ceil(each)
            });
            let excess = by_count.max(by_bytes).min(held.count);
            if excess == 0 {
                return Ok(());
            }
            let subscriptions = records(core).await?;
            let mut left = excess;
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(OLDEST);
                let removed = self
                    .drop_some(core, &subscriptions, &held.topics, most)
                    .await?;
                if removed == 0 {
                    return Ok(());
                }
                left = left.saturating_sub(removed);
            }
            if self.bytes.is_none() {
                return Ok(());
            }
            // How many bytes that was is to be seen.
        }
    }

    /// Drops the oldest messages of the namespace; says how many.
    async fn drop_some(
        &self,
        core: &Core,
        subscriptions: &Subscriptions,
        topics: &[Topic],
        most: usize,
    ) -> Result<u64> {
        let mut pipeline = Pipeline::new();
        for topic in topics {
            pipeline
                .cmd("XRANGE")
                .arg(core.keys.stream(topic))
                .arg("-")
                .arg("+")
                .arg("COUNT")
                .arg(most);
        }
        let mut oldest: Vec<(Offset, &Topic)> = Vec::new();
        let replies = core.control.run_all(&pipeline).await?;
        for (topic, reply) in topics.iter().zip(replies) {
            let found = entries(link::ok(reply)?, WHAT)?;
            oldest.extend(found.into_iter().map(|(at, _)| (at, topic)));
        }
        oldest.sort_unstable();
        oldest.truncate(most);
        let mut cuts: BTreeMap<&Topic, Offset> = BTreeMap::new();
        for (at, topic) in oldest {
            let next = Offset(at.0, at.1.saturating_add(1));
            debug_assert_eq!(before(next), id(at));
            let cut = cuts.entry(topic).or_insert(next);
            *cut = (*cut).max(next);
        }
        let mut removed = 0;
        for (topic, cut) in cuts {
            removed += trim(core, subscriptions, topic, &id(cut), false).await?;
        }
        Ok(u64::try_from(removed).unwrap_or(0))
    }
}
