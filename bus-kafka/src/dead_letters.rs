//! Dead letters: one compacted topic per subscription, keyed by the identity of the entry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bus_api::cloudevents::{Extent, dead_letter_details, dead_letter_from};
use bus_api::{
    Cursor, DeadLetter, DeadLetterId, DeadLetterPage, DeadLetterStore, Error, ErrorKind, Failure,
    Group, Result, SubscriptionId, Topic,
};
use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _, OwnedHeaders};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::Mutex;

use crate::bus::KafkaBus;
use crate::core::Core;
use crate::error::{closed, from_client, invalid_argument, no_answer, senseless};
use crate::link::Link;
use crate::sys::{self, Aside, When};
use crate::topics::{Known, Purpose};
use crate::wire::{self, Record};

/// The header that holds everything of an entry but its message.
const DETAILS: &str = "bus-dead";
/// How long a record is waited for before looking at the clock.
const STEP: Duration = Duration::from_millis(100);

/// Where an entry lies in the order of writing: time, topic, offset.
type Place = (u64, String, i64);

/// What is known of an entry.
#[derive(Clone, Copy, Debug)]
struct Item {
    millis: u64,
    /// The last record of it; the first one is its place, as long as it is not compacted away.
    last: i64,
}

/// Which entries a topic holds; no entry itself.
struct Index {
    topic: String,
    known: Known,
    consumer: Aside<BaseConsumer<Link>>,
    /// Everything before was read.
    next: i64,
    items: BTreeMap<i64, Item>,
    offsets: HashMap<DeadLetterId, i64>,
}

/// The indexes of a connection, by topic.
#[derive(Default)]
pub(crate) struct DeadLetters(Mutex<HashMap<String, Arc<std::sync::Mutex<Index>>>>);

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").finish_non_exhaustive()
    }
}

impl Index {
    fn open(core: &Core, topic: String, known: Known) -> Result<Self> {
        let mut client = core.outside_of_groups();
        client
            .set("enable.partition.eof", "true")
            // Going elsewhere waits for the fetch that is under way.
            .set("fetch.wait.max.ms", "5");
        core.config.finish(&mut client);
        let consumer = client
            .create_with_context(core.link())
            .map_err(|native| from_client(&native))?;
        Ok(Self {
            topic,
            known,
            consumer: Aside::new(consumer),
            next: 0,
            items: BTreeMap::new(),
            offsets: HashMap::new(),
        })
    }

    /// Always anew, so that nothing is left in the client's buffer from before.
    fn go_to(&self, offset: i64) -> Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, 0, Offset::Offset(offset))
            .and_then(|()| self.consumer.assign(&list))
            .map_err(|native| from_client(&native))
    }

    /// Reads records from `from` on and before `end`, until `take` says that it is enough.
    fn read(
        &self,
        from: i64,
        end: i64,
        patience: Duration,
        mut take: impl FnMut(&BorrowedMessage<'_>) -> Result<bool>,
    ) -> Result<()> {
        if from >= end {
            return Ok(());
        }
        self.go_to(from)?;
        let until = std::time::Instant::now() + patience;
        loop {
            match self.consumer.poll(STEP) {
                Some(Ok(record)) => {
                    let offset = record.offset();
                    let goes_on = take(&record)?;
                    if !goes_on || offset + 1 >= end {
                        return Ok(());
                    }
                }
                // The last records may have been compacted away.
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    let known = sys::known_end(&*self.consumer, &self.topic, 0);
                    if known.is_some_and(|known| known >= end) {
                        return Ok(());
                    }
                }
                Some(Err(native)) => {
                    let failed = from_client(&native);
                    if crate::error::is_final(&failed) {
                        return Err(failed);
                    }
                }
                None => {}
            }
            if std::time::Instant::now() >= until {
                return Err(no_answer());
            }
        }
    }

    /// Learns of everything that was written before `end`.
    fn catch_up(&mut self, end: i64, patience: Duration) -> Result<()> {
        let from = self.next;
        let mut read = Vec::new();
        self.read(from, end, patience, |record| {
            let id = record
                .key()
                .and_then(|key| std::str::from_utf8(key).ok())
                .and_then(|key| key.parse::<DeadLetterId>().ok());
            let millis = crate::registry::millis(wire::stored_at(record.timestamp()));
            read.push((record.offset(), id, millis, record.payload().is_some()));
            Ok(true)
        })?;
        for (offset, id, millis, stays) in read {
            let Some(id) = id else {
                continue;
            };
            let first = self.offsets.get(&id).copied();
            match (first, stays) {
                (Some(first), true) => {
                    if let Some(item) = self.items.get_mut(&first) {
                        item.last = offset;
                    }
                }
                (Some(first), false) => {
                    self.items.remove(&first);
                    self.offsets.remove(&id);
                }
                (None, true) => {
                    let last = offset;
                    self.items.insert(offset, Item { millis, last });
                    self.offsets.insert(id, offset);
                }
                (None, false) => {}
            }
        }
        self.next = self.next.max(end);
        Ok(())
    }

    /// The entries at these places, which are in order.
    fn entries(&mut self, first: &[i64], patience: Duration) -> Result<Vec<Option<DeadLetter>>> {
        let mut found: Vec<Option<DeadLetter>> = vec![None; first.len()];
        let mut wanted: BTreeMap<i64, usize> = BTreeMap::new();
        for (index, offset) in first.iter().enumerate() {
            wanted.insert(*offset, index);
        }
        self.collect(&wanted, &mut found, patience)?;
        // What was compacted away was written again later.
        let again: BTreeMap<i64, usize> = first
            .iter()
            .enumerate()
            .filter(|(index, _)| found[*index].is_none())
            .filter_map(|(index, offset)| Some((self.items.get(offset)?.last, index)))
            .filter(|(last, index)| *last != first[*index])
            .collect();
        self.collect(&again, &mut found, patience)?;
        Ok(found)
    }

    fn collect(
        &mut self,
        wanted: &BTreeMap<i64, usize>,
        found: &mut [Option<DeadLetter>],
        patience: Duration,
    ) -> Result<()> {
        let (Some((from, _)), Some((last, _))) =
            (wanted.first_key_value(), wanted.last_key_value())
        else {
            return Ok(());
        };
        self.read(*from, last + 1, patience, |record| {
            if let Some(index) = wanted.get(&record.offset()) {
                found[*index] = Some(entry(record)?);
            }
            Ok(true)
        })
    }
}

fn entry(record: &BorrowedMessage<'_>) -> Result<DeadLetter> {
    const WHAT: &str = "an entry among the dead letters";
    let details = sys::headers(record)
        .into_iter()
        .flatten()
        .find(|(name, _)| *name == DETAILS.as_bytes())
        .map(|(_, value)| value)
        .ok_or_else(|| senseless(WHAT))?;
    // The message says its own topic; this one is only for damaged entries.
    let topic = Topic::new("unknown")?;
    let stored_at = wire::stored_at(record.timestamp());
    let position = wire::position(&record.topic().into(), record.offset(), stored_at);
    let decoded = wire::read(record, &position, &topic, Extent::Whole)?;
    dead_letter_from(details, Arc::new(decoded.message))
}

impl Core {
    /// Writes entries; one result each, once the brokers have confirmed.
    pub(crate) async fn bury(self: &Arc<Self>, entries: &[&DeadLetter]) -> Vec<Result<()>> {
        let mut topics: HashMap<&SubscriptionId, Result<String>> = HashMap::new();
        for entry in entries {
            if !topics.contains_key(&entry.subscription) {
                let name = self.names.dead_letters(&entry.subscription);
                let made = self.ensure(&[(name.clone(), Purpose::DeadLetters)]).await;
                topics.insert(&entry.subscription, made.map(|_| name));
            }
        }
        let (mut records, mut results) = (Vec::new(), Vec::new());
        for entry in entries {
            match &topics[&entry.subscription] {
                Ok(topic) => {
                    records.push(record(topic.clone(), entry));
                    results.push(Ok(()));
                }
                Err(failed) => results.push(Err(failed.clone())),
            }
        }
        let Some(publisher) = self.publisher.get() else {
            return vec![Err(closed()); entries.len()];
        };
        let mut written = publisher.write(self, records).await.into_iter();
        for (result, entry) in results.iter_mut().zip(entries) {
            let Ok(topic) = &topics[&entry.subscription] else {
                continue;
            };
            let mut outcome = written.next().unwrap_or_else(|| Err(closed())).map(drop);
            if matches!(&outcome, Err(failed) if failed.kind() == ErrorKind::TooLarge) {
                outcome = self.bury_without_reason(topic, entry).await;
            }
            *result = outcome;
        }
        results
    }

    /// An entry that is too large with its reason is stored all the same.
    async fn bury_without_reason(&self, topic: &str, entry: &DeadLetter) -> Result<()> {
        let short = DeadLetter {
            error: Failure::new(entry.error.kind.clone(), ""),
            ..entry.clone()
        };
        let publisher = self.publisher.get().ok_or_else(closed)?;
        let records = vec![record(topic.to_owned(), &short)];
        let written = publisher.write(self, records).await;
        written
            .into_iter()
            .next()
            .unwrap_or_else(|| Err(closed()))
            .map(drop)
    }

    /// The topics of dead letters, by group.
    async fn dead_topics(self: &Arc<Self>) -> Result<BTreeMap<Group, Vec<String>>> {
        let mut found: BTreeMap<Group, Vec<String>> = BTreeMap::new();
        for name in self.all_topics().await? {
            if let Some(group) = self.names.group_of_dead_letters(&name) {
                found.entry(group).or_default().push(name);
            }
        }
        Ok(found)
    }

    /// The indexes of these topics, up to date.
    async fn indexes(
        self: &Arc<Self>,
        topics: &[String],
    ) -> Result<Vec<Arc<std::sync::Mutex<Index>>>> {
        let known = self.look_up(topics).await?;
        let logs: Vec<(String, Known)> = topics
            .iter()
            .cloned()
            .zip(known)
            .filter_map(|(name, known)| Some((name, known?)))
            .collect();
        let ends = self.offsets(&logs, When::Latest).await?;
        let mut all = self.dead.0.lock().await;
        let mut indexes = Vec::new();
        for (topic, known) in logs {
            let current = all
                .get(&topic)
                .filter(|index| lock(index).known.id == known.id);
            let index = match current {
                Some(index) => Arc::clone(index),
                None => {
                    let index = Index::open(self, topic.clone(), known)?;
                    let index = Arc::new(std::sync::Mutex::new(index));
                    all.insert(topic.clone(), Arc::clone(&index));
                    index
                }
            };
            let end = ends.get(&(topic, 0)).copied().unwrap_or(0);
            indexes.push((index, end));
        }
        drop(all);
        self.block(move |core| {
            let patience = core.config.patience();
            indexes
                .into_iter()
                .map(|(index, end)| {
                    lock(&index).catch_up(end, patience)?;
                    Ok(index)
                })
                .collect()
        })
        .await
    }

    async fn indexes_of(
        self: &Arc<Self>,
        group: &Group,
    ) -> Result<Vec<Arc<std::sync::Mutex<Index>>>> {
        self.usable()?;
        match self.dead_topics().await?.remove(group) {
            Some(topics) => self.indexes(&topics).await,
            None => Ok(Vec::new()),
        }
    }
}

fn lock(index: &std::sync::Mutex<Index>) -> std::sync::MutexGuard<'_, Index> {
    index
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn record(topic: String, entry: &DeadLetter) -> Record {
    let headers = wire::headers(&entry.message, Extent::Whole);
    Record {
        topic,
        partition: Some(0),
        key: Some(entry.id.to_string().into()),
        headers: wire::with(headers, DETAILS, &dead_letter_details(entry)),
        payload: Some(entry.message.payload.clone()),
    }
}

fn read_cursor(cursor: &Cursor) -> Result<Place> {
    let wrong = || invalid_argument("this cursor was not made by this store");
    let mut parts = cursor.0.splitn(3, '/');
    let mut next = || parts.next().ok_or_else(wrong);
    let millis = next()?.parse().map_err(|_| wrong())?;
    let offset = next()?.parse().map_err(|_| wrong())?;
    Ok((millis, next()?.to_owned(), offset))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl DeadLetterStore for KafkaBus {
    async fn groups(&self) -> Result<Vec<Group>> {
        let core = &self.core;
        core.usable()?;
        let mut groups = BTreeSet::new();
        for (group, topics) in core.dead_topics().await? {
            let indexes = core.indexes(&topics).await?;
            if indexes.iter().any(|index| !lock(index).items.is_empty()) {
                groups.insert(group);
            }
        }
        Ok(groups.into_iter().collect())
    }

    async fn count(&self, group: &Group) -> Result<u64> {
        let indexes = self.core.indexes_of(group).await?;
        Ok(indexes
            .iter()
            .map(|index| lock(index).items.len() as u64)
            .sum())
    }

    async fn page(
        &self,
        group: &Group,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<DeadLetterPage> {
        if limit == 0 {
            return Err(invalid_argument("a page has at least one entry"));
        }
        let after = cursor.map(read_cursor).transpose()?;
        let indexes = self.core.indexes_of(group).await?;
        let page = self.core.block(move |core| {
            let patience = core.config.patience();
            let mut places: BTreeMap<Place, usize> = BTreeMap::new();
            for (number, index) in indexes.iter().enumerate() {
                let index = lock(index);
                let from_here = index
                    .items
                    .iter()
                    .map(|(offset, item)| ((item.millis, index.topic.clone(), *offset), number));
                places.extend(
                    from_here
                        .filter(|(place, _)| after.as_ref().is_none_or(|after| place > after))
                        .take(limit + 1),
                );
            }
            let more = places.len() > limit;
            let places: Vec<(Place, usize)> = places.into_iter().take(limit).collect();
            let mut entries: BTreeMap<Place, DeadLetter> = BTreeMap::new();
            for (number, index) in indexes.iter().enumerate() {
                let own: Vec<&Place> = places
                    .iter()
                    .filter(|(_, of)| *of == number)
                    .map(|(place, _)| place)
                    .collect();
                let offsets: Vec<i64> = own.iter().map(|place| place.2).collect();
                let found = lock(index).entries(&offsets, patience)?;
                for (place, entry) in own.into_iter().zip(found) {
                    if let Some(entry) = entry {
                        entries.insert(place.clone(), entry);
                    }
                }
            }
            let next = places
                .last()
                .filter(|_| more)
                .map(|((millis, topic, offset), _)| {
                    Cursor(format!("{millis}/{offset}/{topic}").into())
                });
            Ok::<_, Error>(DeadLetterPage {
                entries: entries.into_values().collect(),
                next,
            })
        });
        page.await
    }

    async fn get(&self, group: &Group, id: DeadLetterId) -> Result<Option<DeadLetter>> {
        let indexes = self.core.indexes_of(group).await?;
        let found = self.core.block(move |core| {
            for index in &indexes {
                let mut index = lock(index);
                let Some(offset) = index.offsets.get(&id).copied() else {
                    continue;
                };
                let found = index.entries(&[offset], core.config.patience())?;
                return Ok(found.into_iter().next().flatten());
            }
            Ok(None)
        });
        found.await
    }

    async fn remove(&self, group: &Group, ids: &[DeadLetterId]) -> Result<u64> {
        let core = &self.core;
        let indexes = core.indexes_of(group).await?;
        let mut records = Vec::new();
        for index in &indexes {
            let index = lock(index);
            let own: BTreeSet<&DeadLetterId> = ids
                .iter()
                .filter(|id| index.offsets.contains_key(id))
                .collect();
            records.extend(own.into_iter().map(|id| Record {
                topic: index.topic.clone(),
                partition: Some(0),
                key: Some(Bytes::from(id.to_string())),
                headers: OwnedHeaders::new_with_capacity(0),
                payload: None,
            }));
        }
        let publisher = core.publisher.get().ok_or_else(closed)?;
        let mut removed = 0;
        for result in publisher.write(core, records).await {
            result?;
            removed += 1;
        }
        Ok(removed)
    }
}
