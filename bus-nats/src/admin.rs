//! Operating the bus: topics, subscriptions.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bus_api::{Admin, Health, Result, Start, SubscriptionId, SubscriptionInfo, Topic, TopicInfo};
use bytes::Bytes;
use serde_json::json;

use crate::api::ConsumerInfo;
use crate::bus::NatsBus;
use crate::core::Core;
use crate::error::{error, invalid_argument, no_subscription};
use crate::presence::Member;
use crate::registry::{Known, SubRecord};
use crate::start::{self, StoredStart};
use crate::subscribe::{TRIES, anew, ensure_consumer};
use crate::{health, retention};

/// What there is to know of every durable subscription.
pub(crate) async fn infos(core: &Core) -> Result<Vec<SubscriptionInfo>> {
    core.ready().await?;
    let mut found = Vec::new();
    for (id, known) in core.subscriptions().await? {
        found.push(info(core, id, &known).await?);
    }
    Ok(found)
}

async fn info(core: &Core, id: SubscriptionId, known: &Known) -> Result<SubscriptionInfo> {
    let sub = id.broker_name();
    let members = core.members(&sub).await?;
    let members = members.iter().filter(|member| member.is_live()).count();
    let consumer = known.record.consumer(&sub);
    let seen = core.consumer_info(&core.keys.data(), &consumer).await?;
    let (lag, pending) = seen.as_ref().map_or((0, 0), |info| {
        (
            info.num_pending + info.num_ack_pending,
            info.num_ack_pending,
        )
    });
    let oldest = match &seen {
        Some(info) if lag > 0 => oldest(core, &id, info).await?,
        _ => None,
    };
    Ok(SubscriptionInfo {
        id,
        members: u64::try_from(members).unwrap_or(u64::MAX),
        lag,
        pending,
        oldest,
        dropped: known.record.dropped,
        paused: known.record.paused,
    })
}

/// When the oldest unsettled message was stored: the first one above what is settled without a gap.
async fn oldest(
    core: &Core,
    id: &SubscriptionId,
    info: &ConsumerInfo,
) -> Result<Option<std::time::SystemTime>> {
    let floor = if info.num_ack_pending > 0 {
        info.ack_floor.stream_seq
    } else {
        info.delivered.stream_seq
    };
    let filter = core.keys.pattern(&id.pattern);
    let question = json!({"seq": floor + 1, "next_by_subj": filter});
    let stored = core.get(&core.keys.data(), &question).await?;
    Ok(stored.map(|stored| stored.stored_at()))
}

/// The record of a subscription.
async fn known(core: &Core, id: &SubscriptionId) -> Result<Known> {
    core.ready().await?;
    let known = core.load(&id.broker_name()).await?;
    known
        .filter(|known| !known.record.deleted)
        .ok_or_else(|| no_subscription(id))
}

/// The record of a subscription that may be changed.
async fn changeable(core: &Core, id: &SubscriptionId, force: bool) -> Result<Known> {
    let known = known(core, id).await?;
    let sub = id.broker_name();
    let members = core.members(&sub).await?;
    if !force && members.iter().any(Member::is_live) {
        return Err(
            invalid_argument("the subscription has live members; stop them, or force it")
                .with("subscription", id),
        );
    }
    Ok(known)
}

/// Replaces the record; someone who was faster is an error that says so.
async fn replace(core: &Core, id: &SubscriptionId, known: Known, change: Change) -> Result<Known> {
    let record = match change {
        Change::Start(start, log) => anew(known.record, &log, start, true),
        Change::Delete => {
            let mut record = known.record;
            record.deleted = true;
            record
        }
    };
    let stored = core.store(&id.broker_name(), record, known.revision).await;
    stored.map_err(|failed| match failed.kind() {
        bus_api::ErrorKind::Fenced => contended(id),
        _ => failed,
    })
}

enum Change {
    Start(StoredStart, std::sync::Arc<str>),
    Delete,
}

/// Pauses a subscription or lets it go on.
async fn set_paused(core: &Core, id: &SubscriptionId, paused: bool) -> Result<()> {
    for _ in 0..TRIES {
        let Known { record, revision } = known(core, id).await?;
        if record.paused == paused {
            return Ok(());
        }
        let record = SubRecord { paused, ..record };
        match core.store(&id.broker_name(), record, revision).await {
            // A member or the keeper of retention was faster: whatever it wrote stays.
            Err(failed) if failed.kind() == bus_api::ErrorKind::Fenced => {}
            stored => return stored.map(drop),
        }
    }
    Err(contended(id))
}

fn contended(id: &SubscriptionId) -> bus_api::Error {
    error(
        bus_api::ErrorKind::Unavailable,
        "someone else changed the subscription at the same time; try again",
    )
    .with("subscription", id)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Admin for NatsBus {
    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        let core = &self.core;
        core.ready().await?;
        let mut all: BTreeMap<Topic, u64> = BTreeMap::new();
        let prefix = core.keys.known_topic("");
        let known = core
            .subjects(&core.keys.books(), &core.keys.known_topic(">"))
            .await?;
        for subject in known.keys() {
            let topic = subject.strip_prefix(&prefix).map(Topic::new);
            if let Some(Ok(topic)) = topic {
                all.insert(topic, 0);
            }
        }
        let stored = core
            .subjects(&core.keys.data(), &core.keys.all('t'))
            .await?;
        for (subject, count) in stored {
            if let Some(Ok(topic)) = core.keys.topic_of(&subject).map(Topic::new) {
                all.insert(topic, count);
            }
        }
        Ok(all
            .into_iter()
            .map(|(topic, count)| TopicInfo {
                topic,
                messages: Some(count),
            })
            .collect())
    }

    async fn add_topic(&self, topic: &Topic) -> Result<()> {
        let core = &self.core;
        core.ready().await?;
        let subject = core.keys.known_topic(topic.as_str());
        core.put(subject, Bytes::new(), None).await.map(drop)
    }

    async fn subscriptions(&self) -> Result<Vec<SubscriptionInfo>> {
        infos(&self.core).await
    }

    async fn reset(&self, subscription: &SubscriptionId, start: &Start, force: bool) -> Result<()> {
        let core = &self.core;
        let known = changeable(core, subscription, force).await?;
        let start = start::resolve(core, start).await?;
        let (sub, before) = (subscription.broker_name(), known.record.clone());
        let change = Change::Start(start, core.log().await?);
        let known = replace(core, subscription, known, change).await?;
        ensure_consumer(core, &sub, &known.record).await?;
        core.delete_consumer(&core.keys.data(), &before.consumer(&sub))
            .await?;
        retention::forget_records(core, &sub, before.era).await
    }

    async fn delete(&self, subscription: &SubscriptionId, force: bool) -> Result<()> {
        let core = &self.core;
        let known = changeable(core, subscription, force).await?;
        let (sub, before) = (subscription.broker_name(), known.record.clone());
        replace(core, subscription, known, Change::Delete).await?;
        core.delete_consumer(&core.keys.data(), &before.consumer(&sub))
            .await?;
        retention::forget_records(core, &sub, before.era).await?;
        for subject in [core.keys.active(&sub), core.keys.runs(&sub)] {
            let question = json!({"filter": subject});
            core.purge(&core.keys.books(), &question).await?;
        }
        Ok(())
    }

    async fn pause(&self, subscription: &SubscriptionId) -> Result<()> {
        set_paused(&self.core, subscription, true).await
    }

    async fn resume(&self, subscription: &SubscriptionId) -> Result<()> {
        set_paused(&self.core, subscription, false).await
    }

    async fn health(&self) -> Health {
        health::health(&self.core).await
    }
}
