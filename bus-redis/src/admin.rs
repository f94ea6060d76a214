//! Operating the bus: topics, subscriptions.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bus_api::{
    Admin, Group, Health, Pattern, Result, Start, SubscriptionId, SubscriptionInfo, Topic,
    TopicInfo,
};
use redis::{Pipeline, Value};

use crate::bus::RedisBus;
use crate::core::Core;
use crate::dead_letters::roots;
use crate::error::{invalid_argument, no_subscription, senseless};
use crate::keys::{self, NO_ROOT};
use crate::script::{self, LAG, RESET};
use crate::start::{self, StoredStart, SubRecord};
use crate::subscribe::{load, set_paused, store};
use crate::value::{Take, offset};
use crate::{health, link, wire};

const WHAT: &str = "looking at subscriptions";
/// Streams of one call.
const STREAMS: usize = 256;

/// All topics, by root, as the server knows them.
pub(crate) async fn topics(core: &Core) -> Result<BTreeMap<String, Vec<Topic>>> {
    let roots = roots(core).await?;
    let mut pipeline = Pipeline::new();
    for root in &roots {
        pipeline
            .cmd("ZRANGE")
            .arg(core.keys.topics(root))
            .arg(0)
            .arg(-1);
    }
    let replies = core.control.run_all(&pipeline).await?;
    let mut found = BTreeMap::new();
    for (root, reply) in roots.into_iter().zip(replies) {
        let mut topics = BTreeSet::new();
        for topic in link::ok(reply)?.array(WHAT)? {
            topics.extend(Topic::new(topic.text(WHAT)?).ok());
        }
        found.insert(root, topics.into_iter().collect());
    }
    Ok(found)
}

/// The durable subscriptions with their records.
pub(crate) async fn records(core: &Core) -> Result<Vec<(SubscriptionId, SubRecord)>> {
    let command = redis::cmd("HVALS").arg(core.keys.subscriptions()).take();
    let mut found = Vec::new();
    for stored in core.control.run(&command).await?.array(WHAT)? {
        let record = SubRecord::decode(&stored.bytes(WHAT)?)?;
        if !record.deleted {
            let id =
                SubscriptionId::new(Group::new(&record.group)?, Pattern::new(&record.pattern)?);
            found.push((id, record));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// The roots that a subscription may have keys on.
fn roots_of(id: &SubscriptionId, topics: &BTreeMap<String, Vec<Topic>>) -> Vec<String> {
    match id.pattern.root() {
        Some(root) => vec![root.to_owned()],
        None => topics.keys().cloned().chain([NO_ROOT.to_owned()]).collect(),
    }
}

/// The topics of a root that a subscription takes; an exact one also when it is not registered.
fn topics_of(id: &SubscriptionId, root: &str, topics: &BTreeMap<String, Vec<Topic>>) -> Vec<Topic> {
    let known = topics.get(root).map_or(&[][..], Vec::as_slice);
    let mut found: BTreeSet<Topic> = known
        .iter()
        .filter(|topic| id.pattern.matches(topic))
        .cloned()
        .collect();
    found.extend(id.pattern.exact().filter(|topic| topic.root() == root));
    found.into_iter().collect()
}

/// Names of the members whose lease has not ended.
async fn members(core: &Core, sub: &str, roots: &[String]) -> Result<BTreeSet<String>> {
    let command = redis::cmd("TIME").take();
    let time = core.control.run(&command).await?.array(WHAT)?;
    let now = time
        .first()
        .ok_or_else(|| senseless(WHAT))?
        .int(WHAT)?
        .saturating_mul(1_000);
    let mut pipeline = Pipeline::new();
    for root in roots {
        pipeline
            .cmd("ZRANGEBYSCORE")
            .arg(core.keys.subscription(root, sub).members)
            .arg(now)
            .arg("+inf");
    }
    let mut names = BTreeSet::new();
    for reply in core.control.run_all(&pipeline).await? {
        for name in link::ok(reply)?.array(WHAT)? {
            names.insert(name.text(WHAT)?);
        }
    }
    Ok(names)
}

async fn info(
    core: &Core,
    id: SubscriptionId,
    record: &SubRecord,
    topics: &BTreeMap<String, Vec<Topic>>,
) -> Result<SubscriptionInfo> {
    let sub = id.broker_name();
    let roots = roots_of(&id, topics);
    let members = members(core, &sub, &roots).await?;
    let (mut lag, mut pending, mut dropped) = (0_i64, 0_i64, 0_i64);
    let mut oldest = None;
    for root in &roots {
        let mut by_start: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for topic in topics_of(&id, root, topics) {
            let start = match record.start.resolve(&topic, false).as_str() {
                "0" => "-".to_owned(),
                start => format!("({start}"),
            };
            let stream = core.keys.stream(&topic);
            by_start.entry(start).or_default().push(stream);
        }
        for (start, streams) in by_start {
            for streams in streams.chunks(STREAMS) {
                let mut call = script::call(&LAG, streams.iter().map(String::as_str));
                call.arg(&sub).arg(&start);
                let parts = core.control.run(&call).await?.array(WHAT)?;
                let [unsettled, held, first] = &parts[..] else {
                    return Err(senseless(WHAT));
                };
                lag += unsettled.int(WHAT)?;
                pending += held.int(WHAT)?;
                if let Some(first) = offset(&first.clone().text(WHAT)?) {
                    oldest = Some(oldest.map_or(first, |known: bus_api::Offset| known.min(first)));
                }
            }
        }
        let command = redis::cmd("HGET")
            .arg(core.keys.dropped(root))
            .arg(&sub)
            .take();
        match core.control.run(&command).await? {
            Value::Nil => {}
            count => dropped += count.int(WHAT)?,
        }
    }
    let paused = core.keys.subscription(keys::home(&id.pattern), &sub).paused;
    let command = redis::cmd("EXISTS").arg(paused).take();
    let paused = core.control.run(&command).await?.int(WHAT)? == 1;
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(SubscriptionInfo {
        id,
        members: u64::try_from(members.len()).unwrap_or(u64::MAX),
        lag: number(lag),
        pending: number(pending),
        oldest: oldest.map(wire::stored_at),
        dropped: number(dropped),
        paused,
    })
}

/// What there is to know of every durable subscription.
pub(crate) async fn infos(core: &Core) -> Result<Vec<SubscriptionInfo>> {
    let topics = topics(core).await?;
    let mut found = Vec::new();
    for (id, record) in records(core).await? {
        found.push(info(core, id, &record, &topics).await?);
    }
    Ok(found)
}

/// The record of a subscription.
async fn known(core: &Core, id: &SubscriptionId) -> Result<SubRecord> {
    load(core, &id.broker_name())
        .await?
        .filter(|record| !record.deleted)
        .ok_or_else(|| no_subscription(id))
}

/// The record of a subscription that may be changed.
async fn changeable(core: &Core, id: &SubscriptionId, force: bool) -> Result<SubRecord> {
    let sub = id.broker_name();
    let record = known(core, id).await?;
    let topics = topics(core).await?;
    if !force
        && !members(core, &sub, &roots_of(id, &topics))
            .await?
            .is_empty()
    {
        return Err(
            invalid_argument("the subscription has live members; stop them, or force it")
                .with("subscription", id),
        );
    }
    Ok(record)
}

/// Ends what there is of a subscription on every root; with a start, begins anew there.
async fn sweep(core: &Core, id: &SubscriptionId, start: Option<&StoredStart>) -> Result<()> {
    let sub = id.broker_name();
    let topics = topics(core).await?;
    for root in roots_of(id, &topics) {
        let own = core.keys.subscription(&root, &sub);
        let topics = topics_of(id, &root, &topics);
        let streams: Vec<String> = topics.iter().map(|topic| core.keys.stream(topic)).collect();
        let fixed = [own.members, own.lock, own.dead, own.park, own.records];
        let keys = fixed.iter().chain(&streams).map(String::as_str);
        let mut call = script::call(&RESET, keys);
        call.arg(&sub)
            .arg(core.keys.channel(&root))
            .arg(format!("m {sub}"));
        if let Some(start) = start {
            for topic in &topics {
                call.arg(start.resolve(topic, true));
            }
        }
        core.control.run(&call).await?;
    }
    Ok(())
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Admin for RedisBus {
    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        let core = &self.core;
        let all: BTreeSet<Topic> = topics(core).await?.into_values().flatten().collect();
        let mut pipeline = Pipeline::new();
        for topic in &all {
            pipeline.cmd("XLEN").arg(core.keys.stream(topic));
        }
        let replies = core.control.run_all(&pipeline).await?;
        let mut found = Vec::with_capacity(all.len());
        for (topic, reply) in all.into_iter().zip(replies) {
            let messages = u64::try_from(link::ok(reply)?.int(WHAT)?).ok();
            found.push(TopicInfo { topic, messages });
        }
        Ok(found)
    }

    async fn add_topic(&self, topic: &Topic) -> Result<()> {
        self.core.registry.add(&self.core, &[topic]).await
    }

    async fn subscriptions(&self) -> Result<Vec<SubscriptionInfo>> {
        infos(&self.core).await
    }

    async fn reset(&self, subscription: &SubscriptionId, start: &Start, force: bool) -> Result<()> {
        let core = &self.core;
        let record = changeable(core, subscription, force).await?;
        start::check(core, start).await?;
        let start = StoredStart::new(start)?;
        let record = SubRecord {
            start: start.clone(),
            ready: true,
            epoch: record.epoch + 1,
            ..record
        };
        store(core, &subscription.broker_name(), &record).await?;
        sweep(core, subscription, Some(&start)).await
    }

    async fn delete(&self, subscription: &SubscriptionId, force: bool) -> Result<()> {
        let core = &self.core;
        let record = changeable(core, subscription, force).await?;
        let record = SubRecord {
            deleted: true,
            epoch: record.epoch + 1,
            ..record
        };
        store(core, &subscription.broker_name(), &record).await?;
        set_paused(core, subscription, false).await?;
        sweep(core, subscription, None).await
    }

    async fn pause(&self, subscription: &SubscriptionId) -> Result<()> {
        known(&self.core, subscription).await?;
        set_paused(&self.core, subscription, true).await
    }

    async fn resume(&self, subscription: &SubscriptionId) -> Result<()> {
        known(&self.core, subscription).await?;
        set_paused(&self.core, subscription, false).await
    }

    async fn health(&self) -> Health {
        health::health(&self.core).await
    }
}
