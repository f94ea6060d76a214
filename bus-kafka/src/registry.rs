//! The registry: what the members of a namespace tell each other, in one compacted topic that each connection
//! reads once and then follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bus_api::{ErrorKind, Group, Pattern, Result, SubscriptionId, Topic, split_version};
use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::core::Core;
use crate::error::{closed, error, from_client, no_answer};
use crate::link::Link;
use crate::sys::{self, Headers, When};
use crate::thread;
use crate::topics::Purpose;
use crate::wire::Record;

/// The newest version that this release reads, and the one that it writes.
const VERSION: u8 = 1;
/// How long the reader waits for a record before it looks whether it is still wanted.
const STEP: Duration = Duration::from_millis(100);

/// A durable subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) group: String,
    pub(crate) pattern: String,
    /// A reset of a subscription that had live members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reset: Option<Reset>,
    /// Messages that retention dropped before they were settled.
    #[serde(default)]
    pub(crate) dropped: u64,
}

/// An order to the members: leave, and come back once it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reset {
    pub(crate) id: String,
    pub(crate) done: bool,
    /// Members come back then, also when whoever gave the order has died; milliseconds since 1970.
    pub(crate) until: u64,
}

impl Stored {
    pub(crate) fn subscription(&self) -> Option<SubscriptionId> {
        let group = Group::new(&self.group).ok()?;
        Some(SubscriptionId::new(
            group,
            Pattern::new(&self.pattern).ok()?,
        ))
    }
}

/// Responders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answering {
    group: String,
    pattern: String,
}

/// What the registry says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    /// By Kafka group.
    pub(crate) subscriptions: BTreeMap<String, Result<Stored>>,
    pub(crate) topics: BTreeSet<Topic>,
    /// Kafka groups of paused subscriptions.
    pub(crate) paused: BTreeSet<String>,
    /// Kafka group to pattern.
    pub(crate) responders: BTreeMap<String, Pattern>,
    /// How often a subscription was deleted since this connection began to read, by Kafka group.
    deletions: BTreeMap<String, u64>,
}

impl Contents {
    /// How often the subscription was deleted, as far as was read.
    pub(crate) fn deletions(&self, group: &str) -> u64 {
        self.deletions.get(group).copied().unwrap_or(0)
    }
}

/// What a connection knows of the registry.
#[derive(Debug)]
pub(crate) struct Registry {
    contents: Mutex<Contents>,
    /// Everything before this offset has been read; `None` before the first reading.
    read: watch::Sender<Option<i64>>,
    started: tokio::sync::Mutex<bool>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            contents: Mutex::default(),
            read: watch::Sender::new(None),
            started: tokio::sync::Mutex::default(),
        }
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what has been read so far.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Contents) -> T) -> T {
        look(&self.lock())
    }

    /// Changes whenever something was read.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<i64>> {
        self.read.subscribe()
    }

    fn read_up_to(&self, next: i64) {
        self.read
            .send_modify(|read| *read = Some(read.map_or(next, |known| known.max(next))));
    }

    fn take(&self, key: &[u8], value: Option<&[u8]>) {
        let Ok(key) = std::str::from_utf8(key) else {
            return;
        };
        let mut contents = self.lock();
        match key.split_once('/') {
            Some(("s", group)) => match value {
                Some(value) => {
                    let stored = decode::<Stored>(value);
                    contents.subscriptions.insert(group.to_owned(), stored);
                }
                None => {
                    contents.subscriptions.remove(group);
                    *contents.deletions.entry(group.to_owned()).or_default() += 1;
                }
            },
            Some(("p", group)) => {
                match value {
                    // Of whatever version: it is there or not.
                    Some(_) => contents.paused.insert(group.to_owned()),
                    None => contents.paused.remove(group),
                };
            }
            Some(("t", topic)) => {
                if let Ok(topic) = Topic::new(topic) {
                    match value {
                        Some(_) => contents.topics.insert(topic),
                        None => contents.topics.remove(&topic),
                    };
                }
            }
            Some(("r", group)) => {
                let answering = value.and_then(|value| decode::<Answering>(value).ok());
                let pattern = answering.and_then(|answering| Pattern::new(answering.pattern).ok());
                match pattern {
                    Some(pattern) => contents.responders.insert(group.to_owned(), pattern),
                    None => contents.responders.remove(group),
                };
            }
            _ => {}
        }
    }
}

fn encode(value: &impl Serialize) -> Bytes {
    let mut out = vec![VERSION];
    out.extend(serde_json::to_vec(value).unwrap_or_default());
    out.into()
}

fn decode<T: for<'a> Deserialize<'a>>(stored: &[u8]) -> Result<T> {
    let (_, json) = split_version(stored, VERSION, "an entry of the registry")?;
    serde_json::from_slice(json)
        .map_err(|_| error(ErrorKind::Decode, "an entry of the registry is damaged"))
}

impl Core {
    /// Brings the registry up to date: what was confirmed before is known afterwards.
    pub(crate) async fn sync_registry(self: &Arc<Self>) -> Result<()> {
        self.follow_registry().await?;
        let name = self.names.registry();
        let ends = self
            .ask(move |core, patience| {
                let end = [(name.clone(), 0, When::Latest)];
                sys::list_offsets(core.client(), end, patience)
            })
            .await?;
        match ends.first() {
            Some(end) => self.registry_read(end.offset).await,
            None => Ok(()),
        }
    }

    async fn registry_read(&self, next: i64) -> Result<()> {
        let mut read = self.registry.watch();
        let caught_up = read.wait_for(|read| read.is_some_and(|read| read >= next));
        tokio::select! {
            _ = caught_up => Ok(()),
            () = self.life.ended() => Err(closed()),
            () = tokio::time::sleep(self.config.patience()) => Err(no_answer()),
        }
    }

    /// Makes sure that there is a registry, and that it is the only one.
    ///
    /// # Errors
    /// As `check_depth` and `ensure`.
    pub(crate) async fn ensure_registry(self: &Arc<Self>) -> Result<()> {
        self.check_depth().await?;
        let registry = (self.names.registry(), Purpose::Registry);
        self.ensure(&[registry]).await.map(drop)
    }

    /// Starts to follow the registry, once.
    pub(crate) async fn follow_registry(self: &Arc<Self>) -> Result<()> {
        let mut started = self.registry.started.lock().await;
        if *started {
            return Ok(());
        }
        let name: Arc<str> = self.names.registry().into();
        self.ensure_registry().await?;
        let mut client = self.outside_of_groups();
        client.set("enable.partition.eof", "true");
        self.config.finish(&mut client);
        let consumer: BaseConsumer<Link> = client
            .create_with_context(self.link())
            .map_err(|native| from_client(&native))?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&name, 0, Offset::Beginning)
            .and_then(|()| consumer.assign(&list))
            .map_err(|native| from_client(&native))?;
        let core = Arc::clone(self);
        thread::start("registry", move || follow(&core, &consumer))?;
        *started = true;
        Ok(())
    }

    /// Writes entries, and knows them afterwards when the registry is followed.
    async fn write_registry(self: &Arc<Self>, entries: Vec<(String, Option<Bytes>)>) -> Result<()> {
        let name: Arc<str> = self.names.registry().into();
        self.ensure_registry().await?;
        let records = entries
            .into_iter()
            .map(|(key, payload)| Record {
                topic: Arc::clone(&name),
                partition: Some(0),
                key: Some(key.into()),
                headers: Headers::none(),
                payload,
            })
            .collect();
        let publisher = self.publisher.get().ok_or_else(closed)?;
        let mut next = 0;
        for result in publisher.write(self, records).await {
            next = next.max(result?.offset + 1);
        }
        if self.registry.watch().borrow().is_some() {
            self.registry_read(next).await?;
        }
        Ok(())
    }

    /// The durable subscriptions that can be read, by Kafka group.
    pub(crate) fn subscriptions(&self) -> Vec<(String, Stored)> {
        self.registry.look(|contents| {
            contents
                .subscriptions
                .iter()
                .filter_map(|(group, stored)| Some((group.clone(), stored.as_ref().ok()?.clone())))
                .collect()
        })
    }

    pub(crate) async fn register_topics(self: &Arc<Self>, topics: &[Topic]) -> Result<()> {
        let entries = topics
            .iter()
            .map(|topic| (format!("t/{topic}"), Some(vec![VERSION].into())))
            .collect();
        self.write_registry(entries).await
    }

    pub(crate) async fn register_subscription(
        self: &Arc<Self>,
        group: &str,
        stored: &Stored,
    ) -> Result<()> {
        let entry = (format!("s/{group}"), Some(encode(stored)));
        self.write_registry(vec![entry]).await
    }

    pub(crate) async fn remove_subscription(self: &Arc<Self>, group: &str) -> Result<()> {
        let entries = ["s", "p"].map(|kind| (format!("{kind}/{group}"), None));
        self.write_registry(entries.into()).await
    }

    /// Pauses a subscription or lets it go on: an entry of its own, which nothing else rewrites.
    pub(crate) async fn register_pause(self: &Arc<Self>, group: &str, paused: bool) -> Result<()> {
        let entry = paused.then(|| vec![VERSION].into());
        self.write_registry(vec![(format!("p/{group}"), entry)])
            .await
    }

    pub(crate) async fn register_responder(
        self: &Arc<Self>,
        kafka_group: &str,
        group: &Group,
        pattern: &Pattern,
    ) -> Result<()> {
        let answering = Answering {
            group: group.to_string(),
            pattern: pattern.to_string(),
        };
        let entry = (format!("r/{kafka_group}"), Some(encode(&answering)));
        self.write_registry(vec![entry]).await
    }
}

/// Reads until the connection is over.
fn follow(core: &Core, consumer: &BaseConsumer<Link>) {
    let name = core.names.registry();
    let mut end = None;
    while !core.life.is_over() {
        match consumer.poll(STEP) {
            Some(Ok(record)) => {
                if let Some(key) = record.key() {
                    core.registry.take(key, record.payload());
                }
                core.registry.read_up_to(record.offset() + 1);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => end = sys::known_end(consumer, &name, 0),
            Some(Err(native)) => tracing::debug!(error = %native, "reading the registry"),
            // The last records of a compacted log may be missing: nothing came although the end is known.
            None => {
                if let Some(end) = end.take() {
                    core.registry.read_up_to(end);
                }
            }
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn millis(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_and_go() {
        let registry = Registry::default();
        let stored = Stored {
            group: "g".into(),
            pattern: "a.>".into(),
            reset: None,
            dropped: 0,
        };
        registry.take(b"s/ns.s.g-1", Some(&encode(&stored)));
        registry.take(b"t/a.b", Some(&[1]));
        registry.take(b"nonsense", Some(b"x"));
        registry.take(b"\xff/", None);
        registry.look(|contents| {
            assert_eq!(
                contents.subscriptions["ns.s.g-1"].as_ref().unwrap(),
                &stored
            );
            assert_eq!(contents.topics.len(), 1);
        });
        registry.take(b"s/ns.s.g-1", Some(&[2, b'{', b'}']));
        registry.look(|contents| {
            let newer = contents.subscriptions["ns.s.g-1"].as_ref().unwrap_err();
            assert_eq!(newer.kind(), ErrorKind::Unsupported);
        });
        registry.take(b"s/ns.s.g-1", None);
        registry.look(|contents| assert!(contents.subscriptions.is_empty()));
    }
}
