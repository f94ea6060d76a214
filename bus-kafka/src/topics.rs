//! Kafka topics: which there are, and how the bus makes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus_api::adapter::Backoff;
use bus_api::{Error, ErrorKind, Provision, Result};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use tokio::time::Instant;

use crate::config::Config;
use crate::core::Core;
use crate::error::{from_client, from_code, missing_topic};
use crate::sys::{self, When};

/// How long a topic is waited for that some partition of has no leader, before it is used all the same.
const LEADERS: Duration = Duration::from_secs(5);

/// What a Kafka topic is for: what decides how it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The messages of a root.
    Log,
    /// The registry of the namespace.
    Registry,
    /// The dead letters of a subscription.
    DeadLetters,
    /// Requests, or replies.
    Requests,
}

/// A Kafka topic that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Another topic of the same name has another id.
    pub(crate) id: u128,
    pub(crate) partitions: i32,
    /// How positions name the log of each partition: with its incarnation.
    logs: Arc<[Arc<str>]>,
}

impl Known {
    fn new(topic: &str, id: u128, partitions: usize) -> Self {
        Self {
            id,
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
            logs: (0..partitions)
                .map(|partition| log_name(topic, i32::try_from(partition).unwrap_or(i32::MAX), id))
                .collect(),
        }
    }

    /// How positions name the log of a partition.
    pub(crate) fn log(&self, partition: i32) -> Option<&Arc<str>> {
        self.logs.get(usize::try_from(partition).ok()?)
    }
}

/// How positions name the log of a partition.
pub(crate) fn log_name(topic: &str, partition: i32, id: u128) -> Arc<str> {
    format!("{topic}/{partition}#{:08x}", incarnation(id)).into()
}

/// What is kept of a topic's id where room is dear.
pub(crate) fn incarnation(id: u128) -> u32 {
    (0..4).fold(0, |mark, part| mark ^ (id >> (32 * part)) as u32)
}

/// Topic, partition and incarnation of a log's name in a position.
pub(crate) fn parse_log(log: &str) -> Option<(&str, i32, u32)> {
    let (rest, mark) = log.rsplit_once('#')?;
    let (topic, partition) = rest.rsplit_once('/')?;
    let mark = u32::from_str_radix(mark, 16).ok()?;
    Some((topic, partition.parse().ok()?, mark))
}

/// The Kafka topics that this connection has seen.
#[derive(Debug, Default)]
pub(crate) struct Topics(Mutex<HashMap<String, Seen>>);

#[derive(Debug)]
struct Seen {
    known: Known,
    /// Its leaders were waited for.
    is_led: bool,
}

impl Topics {
    /// A topic that was seen; it may be gone by now.
    pub(crate) fn known(&self, name: &str) -> Option<Known> {
        self.lock().get(name).map(|seen| seen.known.clone())
    }

    /// A topic that was seen, and that may be written to: its leaders are at work.
    pub(crate) fn led(&self, name: &str) -> Option<Known> {
        let seen = self.lock();
        let led = seen.get(name).filter(|seen| seen.is_led);
        led.map(|seen| seen.known.clone())
    }

    /// Notes what the brokers say about a topic.
    pub(crate) fn note(&self, name: &str, id: u128, partitions: usize) -> Known {
        let mut seen = self.lock();
        match seen.get(name).map(|seen| &seen.known) {
            Some(same) if same.id == id && same.logs.len() == partitions => same.clone(),
            _ => {
                let known = Known::new(name, id, partitions);
                let fresh = Seen {
                    known: known.clone(),
                    is_led: false,
                };
                seen.insert(name.to_owned(), fresh);
                known
            }
        }
    }

    /// Notes that the leaders of a topic were waited for, unless it is another one by now.
    fn note_led(&self, name: &str, known: &Known) {
        if let Some(seen) = self.lock().get_mut(name) {
            seen.is_led |= seen.known == *known;
        }
    }

    /// Asks anew next time.
    pub(crate) fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Asks which of these topics there are now; in the order of the names.
    pub(crate) async fn look_up(self: &Arc<Self>, names: &[String]) -> Result<Vec<Option<Known>>> {
        let asked = names.to_vec();
        let found = self
            .ask(move |core, patience| sys::describe_topics(core.client(), &asked, patience))
            .await?;
        let mut each = vec![None; names.len()];
        for topic in found {
            let Some(at) = names.iter().position(|name| *name == topic.name) else {
                continue;
            };
            match topic.found {
                Some((id, partitions)) => {
                    each[at] = Some(self.topics.note(&topic.name, id, partitions));
                }
                None => self.topics.forget(&topic.name),
            }
        }
        Ok(each)
    }

    /// Makes sure that these topics are there and can be written to: makes what is missing where that is allowed.
    ///
    /// # Errors
    /// `NotFound` for a missing topic that must not be made, and what the broker says.
    pub(crate) async fn ensure(
        self: &Arc<Self>,
        wanted: &[(String, Purpose)],
    ) -> Result<Vec<Known>> {
        if let Some(all) = wanted
            .iter()
            .map(|(name, _)| self.topics.led(name))
            .collect()
        {
            return Ok(all);
        }
        let names: Vec<String> = wanted.iter().map(|(name, _)| name.clone()).collect();
        let deadline = Instant::now() + self.config.patience() * 3;
        let mut backoff = Backoff::default();
        let mut made = false;
        let mut again = deadline;
        loop {
            let found = self.look_up(&names).await?;
            if found
                .iter()
                .all(|known| known.as_ref().is_some_and(|known| known.partitions > 0))
            {
                let found: Vec<Known> = found.into_iter().flatten().collect();
                self.wait_for_leaders(&names, &found).await;
                return Ok(found);
            }
            let missing: Vec<&(String, Purpose)> = wanted
                .iter()
                .zip(&found)
                .filter(|(_, found)| found.is_none())
                .map(|(wanted, _)| wanted)
                .collect();
            if let Some((name, _)) = missing.first().filter(|_| Instant::now() >= deadline) {
                return Err(
                    from_code(RDKafkaErrorCode::UnknownTopicOrPartition).with("kafka_topic", name)
                );
            }
            if made {
                backoff.wait(&self.life, None).await;
            }
            if !made || Instant::now() >= again {
                self.make(&missing).await?;
                again = Instant::now() + self.config.patience() / 2;
            }
            made = true;
        }
    }

    /// Waits until every partition has a leader that is at work, for a while.
    ///
    /// Brokers tell of a new topic a moment before they take records for it. Of the first requests of a producer to
    /// such a partition one would be refused, and the next one taken with a gap in its sequence numbers, which brokers
    /// allow who know nothing of the producer; librdkafka concludes from it that both were stored
    /// (`rd_kafka_dr_implicit_ack`).
    async fn wait_for_leaders(self: &Arc<Self>, names: &[String], known: &[Known]) {
        let topics: Vec<(String, Known)> = names.iter().cloned().zip(known.to_vec()).collect();
        let partitions: usize = known.iter().map(|known| known.logs.len()).sum();
        let led = async {
            let mut backoff = Backoff::default();
            // A failure has been tried again and again already, or would stay.
            while let Ok(found) = self.offsets(&topics, When::Latest).await {
                if found.len() >= partitions {
                    return;
                }
                backoff.wait(&self.life, None).await;
            }
        };
        if tokio::time::timeout(LEADERS, led).await.is_err() {
            tracing::warn!(topics = ?names, "some partitions have no leader");
        }
        for (name, known) in &topics {
            self.topics.note_led(name, known);
        }
    }

    async fn make(&self, missing: &[&(String, Purpose)]) -> Result<()> {
        if let Some((name, _)) = missing
            .first()
            .filter(|_| self.config.settings.provision != Provision::Create)
        {
            return Err(missing_topic(name));
        }
        let settings: Vec<(i32, Vec<(&str, String)>)> = missing
            .iter()
            .map(|(_, purpose)| self.settings(*purpose))
            .collect();
        let replication = self.config.replication.map_or(-1, i32::from);
        let topics: Vec<NewTopic<'_>> = missing
            .iter()
            .zip(&settings)
            .map(|((name, _), (partitions, settings))| {
                let mut topic =
                    NewTopic::new(name, *partitions, TopicReplication::Fixed(replication));
                for (name, value) in settings {
                    topic = topic.set(name, value);
                }
                topic
            })
            .collect();
        let patience = self.config.patience();
        let options = AdminOptions::new()
            .request_timeout(Some(patience))
            .operation_timeout(Some(patience));
        let made = self
            .admin()
            .create_topics(&topics, &options)
            .await
            .map_err(|native| from_client(&native))?;
        for result in made {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    let failed = from_code(code);
                    if failed.kind() != ErrorKind::Unavailable {
                        return Err(failed.with("kafka_topic", name));
                    }
                }
            }
        }
        Ok(())
    }

    /// Partitions and settings of a topic that the bus makes.
    fn settings(&self, purpose: Purpose) -> (i32, Vec<(&'static str, String)>) {
        let mut settings = vec![("message.timestamp.type", "LogAppendTime".to_owned())];
        if self
            .config
            .replication
            .is_some_and(|replicas| replicas >= 3)
        {
            settings.push(("min.insync.replicas", "2".to_owned()));
        }
        let partitions = i32::from(self.config.partitions);
        match purpose {
            Purpose::Log => {
                let age = self.config.settings.retention.age.as_millis();
                let age = i64::try_from(age).unwrap_or(i64::MAX);
                settings.push(("retention.ms", age.to_string()));
                (partitions, settings)
            }
            Purpose::Registry => {
                settings.push(("cleanup.policy", "compact".to_owned()));
                (1, settings)
            }
            Purpose::DeadLetters => {
                let most = self
                    .limits()
                    .message
                    .saturating_add(Config::DEAD_LETTER_ROOM);
                settings.push(("cleanup.policy", "compact,delete".to_owned()));
                settings.push(("retention.ms", "-1".to_owned()));
                settings.push(("retention.bytes", "-1".to_owned()));
                settings.push(("max.message.bytes", most.to_string()));
                (1, settings)
            }
            Purpose::Requests => {
                settings.push(("retention.ms", "600000".to_owned()));
                settings.push(("segment.ms", "600000".to_owned()));
                (partitions, settings)
            }
        }
    }

    /// The names of all topics of the cluster.
    ///
    /// # Errors
    /// The brokers did not answer.
    pub(crate) async fn all_topics(self: &Arc<Self>) -> Result<Vec<String>> {
        self.ask(|core, patience| {
            let found = core
                .client()
                .fetch_metadata(None, patience)
                .map_err(|native| from_client(&native))?;
            Ok::<_, Error>(
                found
                    .topics()
                    .iter()
                    .map(|topic| topic.name().to_owned())
                    .collect(),
            )
        })
        .await
    }
}
