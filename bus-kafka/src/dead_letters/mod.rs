//! Dead letters: one compacted topic per subscription, keyed by the identity of the entry.

mod index;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bus_api::cloudevents::{Extent, dead_letter_details};
use bus_api::{
    Cursor, DeadLetter, DeadLetterId, DeadLetterPage, DeadLetterStore, Error, ErrorKind, Failure,
    Group, Result, SubscriptionId,
};
use bytes::Bytes;
use tokio::sync::Mutex;

use self::index::{Index, SharedIndex, lock};
use crate::bus::KafkaBus;
use crate::core::Core;
use crate::error::{closed, invalid_argument};
use crate::sys::{Headers, When};
use crate::topics::{Known, Purpose};
use crate::wire::{self, Record};

/// The header that holds everything of an entry but its message.
const DETAILS: &str = "bus-dead";
/// Where an entry lies in the order of writing: time, topic, offset.
type Place = (u64, String, i64);

/// The indexes of a connection, by topic.
#[derive(Default)]
pub(crate) struct DeadLetters(Mutex<HashMap<String, SharedIndex>>);

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").finish_non_exhaustive()
    }
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
                    records.push(record(topic, entry));
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
        let records = vec![record(topic, &short)];
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
    async fn indexes(self: &Arc<Self>, topics: &[String]) -> Result<Vec<SharedIndex>> {
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
                    let index = SharedIndex::new(index.into());
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

    async fn indexes_of(self: &Arc<Self>, group: &Group) -> Result<Vec<SharedIndex>> {
        self.usable()?;
        match self.dead_topics().await?.remove(group) {
            Some(topics) => self.indexes(&topics).await,
            None => Ok(Vec::new()),
        }
    }
}

fn record(topic: &str, entry: &DeadLetter) -> Record {
    let mut headers = wire::headers(&entry.message, Extent::Whole);
    headers.add(DETAILS, &dead_letter_details(entry));
    Record {
        topic: topic.into(),
        partition: Some(0),
        key: Some(entry.id.to_string().into()),
        headers,
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
                topic: index.topic.as_str().into(),
                partition: Some(0),
                key: Some(Bytes::from(id.to_string())),
                headers: Headers::none(),
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
