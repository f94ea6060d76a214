//! Operations: topics and subscriptions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bus_api::adapter::Backoff;
use bus_api::{
    Admin, ErrorKind, Health, Result, Start, SubscriptionId, SubscriptionInfo, Topic, TopicInfo,
};
use rdkafka::error::RDKafkaErrorCode;
use tokio::time::Instant;
use uuid::Uuid;

use crate::bus::KafkaBus;
use crate::core::Core;
use crate::error::{code_of, error, invalid_argument, no_answer, no_subscription};
use crate::member::metadata::Statement;
use crate::registry::{Reset, Stored, millis};
use crate::scan::Stretch;
use crate::sys::{self, Element, When};
use crate::topics::{Known, Purpose, incarnation};

/// How long live members have to leave for a forced reset.
const MEMBERS_LEAVE: Duration = Duration::from_secs(45);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Admin for KafkaBus {
    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        let core = &self.core;
        core.usable()?;
        core.sync_registry().await?;
        let logs = core.all_logs().await?;
        let counts = core.counts(&logs).await?;
        let mut topics: BTreeMap<Topic, Option<u64>> = core.registry.look(|contents| {
            contents
                .topics
                .iter()
                .map(|topic| (topic.clone(), None))
                .collect()
        });
        for (name, _) in &logs {
            let Some(root) = core.names.root(name) else {
                continue;
            };
            let mut own = topics
                .iter_mut()
                .filter(|(topic, _)| core.names.log(topic) == *name);
            let count = counts.get(name).copied();
            match (own.next(), own.next()) {
                // A log that only others have written to.
                (None, _) => {
                    if let Ok(topic) = Topic::new(&root) {
                        topics.insert(topic, count);
                    }
                }
                // Only of a log with one topic is it known without reading whose the messages are.
                (Some((_, messages)), None) => *messages = count,
                (Some(_), Some(_)) => {}
            }
        }
        Ok(topics
            .into_iter()
            .map(|(topic, messages)| TopicInfo { topic, messages })
            .collect())
    }

    async fn add_topic(&self, topic: &Topic) -> Result<()> {
        let core = &self.core;
        core.usable()?;
        core.ensure_registry().await?;
        let log = (core.names.log(topic), Purpose::Log);
        core.ensure(&[log]).await?;
        core.register_topics(std::slice::from_ref(topic)).await
    }

    async fn subscriptions(&self) -> Result<Vec<SubscriptionInfo>> {
        self.core.usable()?;
        self.core.list().await
    }

    async fn reset(&self, subscription: &SubscriptionId, start: &Start, force: bool) -> Result<()> {
        let core = &self.core;
        core.usable()?;
        let (group, stored) = core.stored(subscription).await?;
        let logs = core.logs_of(&subscription.pattern).await?;
        let from = core.resolve(start, &logs).await?;
        match core.place(&group, from.clone()).await {
            Err(failed) if failed.kind() == ErrorKind::Fenced && !force => {
                return Err(has_members(subscription));
            }
            Err(failed) if failed.kind() == ErrorKind::Fenced => {}
            placed => return placed,
        }
        let mut order = Reset {
            id: Uuid::new_v4().to_string(),
            done: false,
            until: millis(SystemTime::now() + MEMBERS_LEAVE),
        };
        let with = |order: &Reset| Stored {
            reset: Some(order.clone()),
            ..stored.clone()
        };
        core.register_subscription(&group, &with(&order)).await?;
        let placed = core.place_when_empty(&group, from).await;
        order.done = true;
        core.register_subscription(&group, &with(&order)).await?;
        placed
    }

    async fn delete(&self, subscription: &SubscriptionId, force: bool) -> Result<()> {
        let core = &self.core;
        core.usable()?;
        let (group, _) = core.stored(subscription).await?;
        if !force && core.members(std::slice::from_ref(&group)).await? != [0] {
            return Err(has_members(subscription));
        }
        core.remove_subscription(&group).await?;
        core.delete_group(&group).await
    }

    async fn pause(&self, subscription: &SubscriptionId) -> Result<()> {
        self.core.set_paused(subscription, true).await
    }

    async fn resume(&self, subscription: &SubscriptionId) -> Result<()> {
        self.core.set_paused(subscription, false).await
    }

    async fn health(&self) -> Health {
        self.core.health().await
    }
}

fn has_members(subscription: &SubscriptionId) -> bus_api::Error {
    invalid_argument("the subscription has live members; stop them, or force it")
        .with("subscription", subscription)
}

impl Core {
    /// The logs of the namespace.
    pub(crate) async fn all_logs(self: &Arc<Self>) -> Result<Vec<(String, Known)>> {
        let mut names = self.all_topics().await?;
        names.retain(|name| self.names.root(name).is_some());
        names.sort();
        let known = self.look_up(&names).await?;
        Ok(names
            .into_iter()
            .zip(known)
            .filter_map(|(name, known)| Some((name, known?)))
            .collect())
    }

    /// Messages of each log.
    async fn counts(self: &Arc<Self>, logs: &[(String, Known)]) -> Result<HashMap<String, u64>> {
        let first = self.offsets(logs, When::Earliest).await?;
        let end = self.offsets(logs, When::Latest).await?;
        let mut counts = HashMap::new();
        for ((topic, partition), end) in end {
            let first = first.get(&(topic.clone(), partition)).copied().unwrap_or(0);
            *counts.entry(topic).or_insert(0) += u64::try_from(end - first).unwrap_or(0);
        }
        Ok(counts)
    }

    /// The Kafka group of a durable subscription and its entry in the registry.
    async fn stored(self: &Arc<Self>, id: &SubscriptionId) -> Result<(String, Stored)> {
        self.sync_registry().await?;
        let group = self.names.group(id);
        let stored = self
            .registry
            .look(|contents| contents.subscriptions.get(&group).cloned());
        match stored {
            Some(stored) => Ok((group, stored?)),
            None => Err(no_subscription(id)),
        }
    }

    async fn set_paused(self: &Arc<Self>, id: &SubscriptionId, paused: bool) -> Result<()> {
        self.usable()?;
        let (group, _) = self.stored(id).await?;
        self.register_pause(&group, paused).await
    }

    /// Live members of groups.
    pub(crate) async fn members(self: &Arc<Self>, groups: &[String]) -> Result<Vec<usize>> {
        let groups = groups.to_vec();
        self.ask_coordinator(move |client, patience| {
            sys::describe_groups(client, &groups, patience)
        })
        .await
    }

    /// Puts a group to these offsets once its members have left.
    async fn place_when_empty(
        self: &Arc<Self>,
        group: &str,
        from: Vec<crate::start::From>,
    ) -> Result<()> {
        let deadline = Instant::now() + MEMBERS_LEAVE;
        let mut backoff = Backoff::default();
        loop {
            match self.place(group, from.clone()).await {
                Err(failed) if failed.kind() == ErrorKind::Fenced => {}
                placed => return placed,
            }
            if Instant::now() >= deadline {
                return Err(error(
                    ErrorKind::Unavailable,
                    "the live members have not left in time; one of them may be cut off",
                ));
            }
            backoff.wait(&self.life, None).await;
        }
    }

    /// Removes a group, once its members have left.
    async fn delete_group(self: &Arc<Self>, group: &str) -> Result<()> {
        let deadline = Instant::now() + MEMBERS_LEAVE;
        let mut backoff = Backoff::default();
        loop {
            self.usable()?;
            let name = group.to_owned();
            let deleted = self
                .ask_coordinator(move |client, patience| sys::delete_group(client, &name, patience))
                .await;
            match deleted {
                Err(failed) if code_of(&failed) == Some(RDKafkaErrorCode::NonEmptyGroup) => {}
                deleted => return deleted,
            }
            if Instant::now() >= deadline {
                return Err(no_answer());
            }
            backoff.wait(&self.life, None).await;
        }
    }

    /// The durable subscriptions.
    pub(crate) async fn list(self: &Arc<Self>) -> Result<Vec<SubscriptionInfo>> {
        self.sync_registry().await?;
        let (stored, topics, paused) = self.registry.look(|contents| {
            let stored: Vec<(String, SubscriptionId, u64)> = contents
                .subscriptions
                .iter()
                .filter_map(|(group, stored)| {
                    let stored = stored.as_ref().ok()?;
                    Some((group.clone(), stored.subscription()?, stored.dropped))
                })
                .collect();
            (stored, contents.topics.clone(), contents.paused.clone())
        });
        let groups: Vec<String> = stored.iter().map(|(group, _, _)| group.clone()).collect();
        let members = self.members(&groups).await?;
        let logs = self.all_logs().await?;
        let first = self.offsets(&logs, When::Earliest).await?;
        let end = self.offsets(&logs, When::Latest).await?;
        let mut of_log: HashMap<String, Vec<&Topic>> = HashMap::new();
        for topic in &topics {
            of_log.entry(self.names.log(topic)).or_default().push(topic);
        }
        let mut all = Vec::new();
        for ((group, id, dropped), members) in stored.into_iter().zip(members) {
            let committed = self.committed(&group).await?;
            let mut stretches = Vec::new();
            for (topic, known) in &logs {
                if !self.names.reaches(&id.pattern, topic) {
                    continue;
                }
                let own = of_log.get(topic).map_or(&[][..], Vec::as_slice);
                let whole = !own.is_empty() && own.iter().all(|topic| id.pattern.matches(topic));
                for partition in 0..known.partitions {
                    let key = (topic.clone(), partition);
                    let first = first.get(&key).copied().unwrap_or(0);
                    let end = end.get(&key).copied().unwrap_or(first);
                    let of = committed
                        .iter()
                        .find(|element| element.topic == *topic && element.partition == partition);
                    let mut stretch = stretch(of, known, first, end);
                    stretch.topic.clone_from(topic);
                    (stretch.partition, stretch.whole) = (partition, whole);
                    stretches.push(stretch);
                }
            }
            let found = self.scan(&id.pattern, stretches).await?;
            all.push(SubscriptionInfo {
                id,
                members: members as u64,
                lag: found.lag,
                pending: found.pending,
                oldest: found.oldest,
                dropped,
                paused: paused.contains(&group),
            });
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    /// What a group has committed.
    pub(crate) async fn committed(self: &Arc<Self>, group: &str) -> Result<Vec<Element>> {
        let group = group.to_owned();
        self.ask_coordinator(move |client, patience| sys::group_offsets(client, &group, patience))
            .await
    }
}

/// What is unsettled of a partition with this commit.
pub(crate) fn stretch(committed: Option<&Element>, known: &Known, first: i64, end: i64) -> Stretch {
    let mark = incarnation(known.id);
    let statement = match committed {
        // What cannot be read, for instance of a newer release, counts as unsettled.
        Some(element) if element.offset >= 0 && !element.metadata.is_empty() => {
            Statement::decode(element.offset, &element.metadata)
                .unwrap_or_else(|_| Statement::plain(mark, element.offset))
        }
        Some(element) if element.offset >= 0 => Statement::plain(mark, element.offset),
        _ => Statement::plain(mark, first),
    };
    let statement = if statement.incarnation == mark {
        statement
    } else {
        Statement::plain(mark, first)
    };
    let mut listed = statement.listed;
    listed.retain(|offset, _| *offset >= first && *offset < end);
    Stretch {
        topic: String::new(),
        partition: 0,
        listed,
        next: statement.next.clamp(first, end.max(first)),
        end,
        whole: false,
    }
}
