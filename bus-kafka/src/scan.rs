//! Looking at messages without taking them: how many of a stretch concern a subscription, and how old they
//! are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bus_api::cloudevents::Extent;
use bus_api::{Pattern, Result, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::core::Core;
use crate::error::{from_client, no_answer};
use crate::link::Link;
use crate::member::metadata::Kept;
use crate::sys::{self, Aside};
use crate::topics::Known;
use crate::wire;

/// Records that are looked at, at most; the rest is taken to be like them.
const MOST: u64 = 20_000;
/// How long a record is waited for before looking at the clock.
const STEP: Duration = Duration::from_millis(50);

/// What a subscription has not settled of one partition.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// Unsettled below `next`.
    pub(crate) listed: BTreeMap<i64, Kept>,
    /// From here on everything is unsettled.
    pub(crate) next: i64,
    pub(crate) end: i64,
    /// All of it concerns the subscription, so that one record is enough.
    pub(crate) whole: bool,
}

impl Stretch {
    /// The lowest unsettled offset.
    pub(crate) fn first(&self) -> i64 {
        let listed = self.listed.first_key_value().map(|(offset, _)| *offset);
        listed.unwrap_or(self.next).min(self.next)
    }

    /// Offsets that count if they concern the subscription.
    pub(crate) fn len(&self) -> u64 {
        self.len_from(i64::MIN)
    }

    /// Of these, those from `offset` on.
    fn len_from(&self, offset: i64) -> u64 {
        let rest = u64::try_from(self.end - self.next.max(offset)).unwrap_or(0);
        self.listed.range(offset..).count() as u64 + rest
    }

    fn counts(&self, offset: i64) -> bool {
        offset >= self.next || self.listed.contains_key(&offset)
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    pub(crate) lag: u64,
    pub(crate) pending: u64,
    pub(crate) oldest: Option<SystemTime>,
}

impl Core {
    /// Counts what of `stretches` matches `pattern`.
    pub(crate) async fn scan(
        self: &Arc<Self>,
        pattern: &Pattern,
        stretches: Vec<Stretch>,
    ) -> Result<Found> {
        let stretches: Vec<Stretch> = stretches
            .into_iter()
            .filter(|stretch| stretch.len() > 0 && stretch.first() < stretch.end)
            .collect();
        if stretches.is_empty() {
            return Ok(Found::default());
        }
        let pattern = pattern.clone();
        self.block(move |core| scan(core, &pattern, &stretches))
            .await
    }
}

impl Core {
    /// The mean size of some messages, spread evenly, in bytes.
    pub(crate) async fn mean_size(
        self: &Arc<Self>,
        logs: &[(String, Known)],
        first: &HashMap<(String, i32), i64>,
        end: &HashMap<(String, i32), i64>,
    ) -> Result<u64> {
        const SAMPLES: i64 = 4;
        let mut places = Vec::new();
        for (topic, known) in logs {
            for partition in 0..known.partitions {
                let key = (topic.clone(), partition);
                let (first, end) = (
                    first.get(&key).copied().unwrap_or(0),
                    end.get(&key).copied().unwrap_or(0),
                );
                let count = (end - first).clamp(0, SAMPLES);
                for sample in 0..count {
                    let offset = first + (end - first) / count * sample;
                    places.push((topic.clone(), partition, offset));
                }
            }
        }
        self.block(move |core| {
            let consumer = reader(core)?;
            let until = Instant::now() + core.config.patience();
            let (mut bytes, mut count) = (0, 0);
            for (topic, partition, offset) in places {
                let mut list = TopicPartitionList::new();
                list.add_partition_offset(&topic, partition, Offset::Offset(offset))
                    .and_then(|()| consumer.assign(&list))
                    .map_err(|native| from_client(&native))?;
                while Instant::now() < until {
                    match consumer.poll(STEP) {
                        Some(Ok(record)) => {
                            bytes += size(&record);
                            count += 1;
                            break;
                        }
                        Some(Err(KafkaError::PartitionEOF(_))) => break,
                        Some(Err(_)) | None => {}
                    }
                }
            }
            Ok(bytes / count.max(1))
        })
        .await
    }
}

/// Payload, key and headers of a record.
fn size(record: &rdkafka::message::BorrowedMessage<'_>) -> u64 {
    let headers: usize = sys::headers(record)
        .into_iter()
        .flatten()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    (record.payload_len() + record.key_len() + headers) as u64
}

/// A consumer that goes to places, outside of any group, and tells the ends of partitions.
pub(crate) fn reader(core: &Core) -> Result<Aside<BaseConsumer<Link>>> {
    let mut client = core.outside_of_groups();
    client
        .set("enable.partition.eof", "true")
        // Going elsewhere waits for the fetch that is under way.
        .set("fetch.wait.max.ms", "5");
    core.config.finish(&mut client);
    client
        .create_with_context(core.link())
        .map(Aside::new)
        .map_err(|native| from_client(&native))
}

fn scan(core: &Core, pattern: &Pattern, stretches: &[Stretch]) -> Result<Found> {
    let consumer = reader(core)?;
    let mut list = TopicPartitionList::new();
    // Each with what is to be looked at next.
    let mut open: HashMap<(&str, i32), (&Stretch, i64)> = HashMap::new();
    for stretch in stretches {
        let from = Offset::Offset(stretch.first());
        list.add_partition_offset(&stretch.topic, stretch.partition, from)
            .map_err(|native| from_client(&native))?;
        let place = (stretch.topic.as_str(), stretch.partition);
        open.insert(place, (stretch, stretch.first()));
    }
    consumer
        .assign(&list)
        .map_err(|native| from_client(&native))?;
    let mut unread = Unread::new(stretches);
    let mut found = Found::default();
    let mut seen = 0;
    let until = Instant::now() + core.config.patience();
    while !open.is_empty() && seen < MOST {
        if Instant::now() >= until {
            // Part of a count would be taken for the whole.
            return Err(no_answer());
        }
        let record = match consumer.poll(STEP) {
            Some(Ok(record)) => record,
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                unread.ended(partition);
                continue;
            }
            Some(Err(_)) => continue,
            None => {
                // Deletions at the end leave nothing to be read.
                open.retain(|(topic, partition), (stretch, _)| {
                    let known = sys::known_end(&*consumer, topic, *partition);
                    unread.may_come(*partition) || known.is_none_or(|known| known < stretch.end)
                });
                continue;
            }
        };
        let of_record = open.iter_mut().find(|((topic, partition), _)| {
            *topic == record.topic() && *partition == record.partition()
        });
        let Some((key, (stretch, next))) = of_record else {
            continue;
        };
        let (key, stretch) = (*key, *stretch);
        *next = record.offset() + 1;
        seen += 1;
        let stored_at = wire::stored_at(record.timestamp());
        if stretch.counts(record.offset()) && concerns(core, pattern, &record) {
            found.oldest = Some(found.oldest.map_or(stored_at, |known| known.min(stored_at)));
            if stretch.whole {
                found.lag += stretch.len();
                found.pending += stretch.listed.len() as u64;
                open.remove(&key);
                continue;
            }
            found.lag += 1;
            found.pending += u64::from(record.offset() < stretch.next);
        }
        if record.offset() + 1 >= stretch.end {
            open.remove(&key);
        }
    }
    // What was not looked at is taken to concern the subscription.
    let rest = open.values().map(|(stretch, next)| stretch.len_from(*next));
    found.lag += rest.sum::<u64>();
    Ok(found)
}

/// Partitions that have not been read to their ends yet, by number: the client library does not say whose end it is.
struct Unread(HashMap<i32, usize>);

impl Unread {
    fn new(stretches: &[Stretch]) -> Self {
        let mut unread = HashMap::new();
        for stretch in stretches {
            *unread.entry(stretch.partition).or_insert(0) += 1;
        }
        Self(unread)
    }

    fn ended(&mut self, partition: i32) {
        if let Some(unread) = self.0.get_mut(&partition) {
            *unread = unread.saturating_sub(1);
        }
    }

    fn may_come(&self, partition: i32) -> bool {
        self.0.get(&partition).is_some_and(|unread| *unread > 0)
    }
}

fn concerns(
    core: &Core,
    pattern: &Pattern,
    record: &rdkafka::message::BorrowedMessage<'_>,
) -> bool {
    let root = core.names.root(record.topic());
    let Some(root) = root.and_then(|root| Topic::new(root).ok()) else {
        return false;
    };
    let stored_at = wire::stored_at(record.timestamp());
    let position = wire::position(&record.topic().into(), record.offset(), stored_at);
    wire::read(record, &position, &root, Extent::Usual)
        .map_or(true, |decoded| pattern.matches(&decoded.message.topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(topic: &str, partition: i32) -> Stretch {
        Stretch {
            topic: topic.to_owned(),
            partition,
            listed: BTreeMap::new(),
            next: 10,
            end: 30,
            whole: false,
        }
    }

    #[test]
    fn the_end_of_one_partition_is_not_taken_for_that_of_another() {
        let mut unread = Unread::new(&[stretch("a", 0), stretch("b", 0), stretch("a", 1)]);
        unread.ended(0);
        assert!(unread.may_come(0) && unread.may_come(1));
        unread.ended(0);
        assert!(!unread.may_come(0) && unread.may_come(1));
    }

    #[test]
    fn what_was_looked_at_is_not_counted_again() {
        let stretch = stretch("a", 0);
        assert_eq!(stretch.len(), 20);
        assert_eq!(stretch.len_from(15), 15);
        assert_eq!(stretch.len_from(40), 0);
    }
}
