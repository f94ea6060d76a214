//! Which dead letters a topic holds, and where.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bus_api::cloudevents::{Extent, dead_letter_from};
use bus_api::{DeadLetter, DeadLetterId, Result, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::DETAILS;
use crate::core::Core;
use crate::error::{from_client, is_final, no_answer, senseless};
use crate::link::Link;
use crate::scan::reader;
use crate::sys::{self, Aside};
use crate::topics::Known;
use crate::wire;

/// How long a record is waited for before looking at the clock.
const STEP: Duration = Duration::from_millis(100);

/// An index that is used by one question at a time.
pub(super) type SharedIndex = Arc<Mutex<Index>>;

/// What is known of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) millis: u64,
    /// The last record of it; the first one is its place, as long as it is not compacted away.
    last: i64,
}

/// Which entries a topic holds; no entry itself.
pub(super) struct Index {
    pub(super) topic: String,
    pub(super) known: Known,
    consumer: Aside<BaseConsumer<Link>>,
    /// Everything before was read.
    next: i64,
    pub(super) items: BTreeMap<i64, Item>,
    pub(super) offsets: HashMap<DeadLetterId, i64>,
}

impl Index {
    pub(super) fn open(core: &Core, topic: String, known: Known) -> Result<Self> {
        Ok(Self {
            topic,
            known,
            consumer: reader(core)?,
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
        let until = Instant::now() + patience;
        let mut ended = false;
        loop {
            match self.consumer.poll(STEP) {
                Some(Ok(record)) => {
                    ended = false;
                    let offset = record.offset();
                    let goes_on = take(&record)?;
                    if !goes_on || offset + 1 >= end {
                        return Ok(());
                    }
                }
                // Where a new leader was when it was asked; it may know of more by now.
                Some(Err(KafkaError::PartitionEOF(_))) => ended = true,
                Some(Err(native)) => {
                    let failed = from_client(&native);
                    if is_final(&failed) {
                        return Err(failed);
                    }
                }
                // The last records may have been compacted away.
                None if ended => {
                    let known = sys::known_end(&*self.consumer, &self.topic, 0);
                    if known.is_some_and(|known| known >= end) {
                        return Ok(());
                    }
                }
                None => {}
            }
            if Instant::now() >= until {
                return Err(no_answer());
            }
        }
    }

    /// Learns of everything that was written before `end`.
    pub(super) fn catch_up(&mut self, end: i64, patience: Duration) -> Result<()> {
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
    pub(super) fn entries(
        &mut self,
        first: &[i64],
        patience: Duration,
    ) -> Result<Vec<Option<DeadLetter>>> {
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

pub(super) fn lock(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
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
