//! What a member knows of all its partitions: what its lock protects.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bus_api::adapter::{Certainty, Hold};
use bus_api::{Delivery, Error, Inflow, Receipt, Result};
use tokio::time::Instant;

use super::metadata::Statement;
use super::partition::{Entry, Part};
use crate::gather::Gather;

/// Something that rests, soonest first.
type Resting = Reverse<(Instant, u64, i64, u16)>;

/// What the lock protects.
pub(crate) struct Inner {
    /// By epoch.
    pub(crate) parts: HashMap<u64, Part>,
    /// Epochs by topic and partition.
    names: HashMap<String, HashMap<i32, u64>>,
    /// Which log each topic was that the member has ever had a part of, by its mark.
    logs: HashMap<String, u32>,
    /// Whose turn it is to hand out.
    turn: VecDeque<u64>,
    resting: BinaryHeap<Resting>,
    pub(crate) news: VecDeque<Inflow>,
    pub(crate) ended: Option<Error>,
    certainty: Certainty,
    /// When the group last took it for a member.
    proved: Option<Instant>,
    next_epoch: u64,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            parts: HashMap::new(),
            names: HashMap::new(),
            logs: HashMap::new(),
            turn: VecDeque::new(),
            resting: BinaryHeap::new(),
            news: VecDeque::new(),
            ended: None,
            certainty: Certainty::default(),
            proved: None,
            next_epoch: 1,
        }
    }
}

/// What became of a look for deliveries.
pub(crate) enum Look {
    Found(Inflow),
    /// Nothing until then, or until woken.
    Nothing(Option<Instant>),
}

impl Inner {
    /// The epoch of the next assignment.
    pub(crate) fn epoch(&mut self) -> u64 {
        self.next_epoch += 1;
        self.next_epoch
    }

    pub(crate) fn add(&mut self, part: Part) {
        let epoch = part.epoch;
        self.names
            .entry(part.topic.clone())
            .or_default()
            .insert(part.partition, epoch);
        self.logs.insert(part.topic.clone(), part.incarnation);
        self.turn.push_back(epoch);
        self.parts.insert(epoch, part);
    }

    /// Whether the member has had a part of the topic when it was another log.
    pub(crate) fn knew_another(&self, topic: &str, mark: u32) -> bool {
        self.logs.get(topic).is_some_and(|known| *known != mark)
    }

    /// The part of a partition.
    pub(crate) fn part(&mut self, topic: &str, partition: i32) -> Option<&mut Part> {
        let epoch = self.names.get(topic)?.get(&partition)?;
        self.parts.get_mut(epoch)
    }

    /// The group took it for a member when it was asked `at` that time, which counts for so long.
    pub(crate) fn prove(&mut self, at: Instant, counts: Duration) {
        let at = self.proved.map_or(at, |proved| proved.max(at));
        self.proved = Some(at);
        self.certainty.renewed(at + counts);
    }

    /// Commits something once more when the last proof that it is a member has become old.
    pub(crate) fn seek_proof(&mut self, session: Duration) {
        if self.proved.is_none_or(|at| at.elapsed() < session / 3) {
            return;
        }
        if let Some(part) = self.parts.values_mut().find(|part| !part.suspended) {
            part.dirty = true;
        }
    }

    /// The group has shut the member out of a partition, for now; returns what the member has of it.
    pub(crate) fn suspend(&mut self, topic: &str, partition: i32) -> Vec<Receipt> {
        self.part(topic, partition)
            .map(Part::suspend)
            .unwrap_or_default()
    }

    /// The brokers have lost the group; until it is made again, nothing is certain.
    pub(crate) fn suspend_all(&mut self) {
        let receipts = self.parts.values_mut().flat_map(Part::suspend).collect();
        self.reclaim(receipts, Instant::now());
    }

    /// The member is told to start none of these, and to settle until then what runs.
    pub(crate) fn reclaim(&mut self, receipts: Vec<Receipt>, by: Instant) {
        if !receipts.is_empty() {
            self.news.push_back(Inflow::Reclaim { receipts, by });
        }
    }

    /// What the brokers knew, as far as it was confirmed, of the partitions that the member was shut out of.
    pub(crate) fn suspended(&self) -> HashMap<(String, i32), Statement> {
        self.parts
            .values()
            .filter(|part| part.suspended)
            .map(|part| {
                let place = (part.topic.clone(), part.partition);
                (place, part.last_committed().clone())
            })
            .collect()
    }

    /// Of the partitions that the member was shut out of, the group has given it those `kept` and others the rest: what it
    /// has of these is lost now, and what it knew to be committed stays known.
    pub(crate) fn lose_suspended(&mut self, kept: impl Fn(&str, i32) -> bool) {
        let mut lost = Vec::new();
        for part in self.parts.values_mut() {
            if part.suspended && !kept(&part.topic, part.partition) {
                lost.extend(part.lose());
            }
        }
        self.tell_lost(lost);
    }

    /// The member is told that it lost what it has, if it has any.
    fn tell_lost(&mut self, receipts: Vec<Receipt>) {
        if !receipts.is_empty() {
            self.news.push_back(Inflow::Lost(receipts));
        }
    }

    /// Forgets the partitions that the member was shut out of and has not got back.
    pub(crate) fn forget_suspended(&mut self) {
        for (topic, partition) in self.suspended().into_keys() {
            self.remove(&topic, partition, true);
        }
    }

    /// Forgets a partition. With `tell`, the member is told that it lost what it has.
    pub(crate) fn remove(&mut self, topic: &str, partition: i32, tell: bool) {
        let Some(epoch) = self
            .names
            .get_mut(topic)
            .and_then(|partitions| partitions.remove(&partition))
        else {
            return;
        };
        self.turn.retain(|turn| *turn != epoch);
        if let Some(mut part) = self.parts.remove(&epoch) {
            let receipts = part.lose();
            if tell {
                self.tell_lost(receipts);
            }
        }
    }

    /// Forgets all partitions; the member is told what it lost.
    pub(crate) fn lose_all(&mut self) {
        let receipts = self.clear();
        self.tell_lost(receipts);
    }

    /// Whoever waits learns that it is all over; returns what the member had.
    pub(crate) fn clear(&mut self) -> Vec<Receipt> {
        let receipts = self.parts.values_mut().flat_map(Part::lose).collect();
        self.parts.clear();
        self.names.clear();
        self.turn.clear();
        receipts
    }

    /// What was handed out `handed` times rests for a while.
    pub(crate) fn rest(&mut self, epoch: u64, offset: i64, handed: u16, after: Duration) {
        let until = Instant::now()
            .checked_add(after)
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400 * 365));
        self.resting.push(Reverse((until, epoch, offset, handed)));
    }

    /// The part and entry of a receipt, when the member still has it.
    pub(crate) fn held(&mut self, receipt: Receipt) -> Option<(&mut Part, i64)> {
        let part = self.parts.get_mut(&(receipt.epoch >> 16))?;
        let (offset, _) = part.held(receipt)?;
        Some((part, offset))
    }

    /// Waits until what was just done with `receipt`'s partition is committed.
    pub(crate) fn wait(
        &mut self,
        receipt: Receipt,
        results: &Arc<Gather<Result<()>>>,
        index: usize,
    ) {
        if let Some(part) = self.parts.get_mut(&(receipt.epoch >> 16)) {
            let offset = i64::try_from(receipt.slot).unwrap_or(i64::MAX);
            part.wait(offset, results, index);
        }
    }

    fn wake_rested(&mut self, now: Instant) -> Option<Instant> {
        while let Some(Reverse((until, epoch, offset, handed))) = self.resting.peek().copied() {
            if until > now {
                return Some(until);
            }
            self.resting.pop();
            if let Some(part) = self.parts.get_mut(&epoch) {
                part.wake(offset, handed);
            }
        }
        None
    }

    /// Up to `max` deliveries, or news.
    pub(crate) fn look(&mut self, max: usize) -> Look {
        let now = Instant::now();
        let hold = self.certainty.look(now);
        if hold == Hold::Ends {
            let receipts = self.parts.values().flat_map(Part::receipts).collect();
            self.reclaim(receipts, now);
        }
        if let Some(news) = self.news.pop_front() {
            return Look::Found(news);
        }
        if hold != Hold::Certain {
            return Look::Nothing(None);
        }
        let ends = self.certainty.ends();
        if max == 0 {
            return Look::Nothing(ends);
        }
        let wake = self.wake_rested(now).into_iter().chain(ends).min();
        let mut deliveries = Vec::new();
        let mut idle = 0;
        while deliveries.len() < max && idle < self.turn.len() {
            let Some(epoch) = self.turn.pop_front() else {
                break;
            };
            self.turn.push_back(epoch);
            let Some(part) = self.parts.get_mut(&epoch) else {
                continue;
            };
            // A slice each, so that one partition does not keep the others waiting.
            let slice = (max / self.turn.len().max(1)).max(1);
            let before = deliveries.len();
            while deliveries.len() < max && deliveries.len() - before < slice {
                let Ok((offset, entry)) = part.hand_out() else {
                    break;
                };
                let delivery = delivery(entry);
                let handed = entry.handed;
                deliveries.push(Delivery {
                    receipt: part.receipt(offset, handed),
                    ..delivery
                });
            }
            idle = if deliveries.len() == before {
                idle + 1
            } else {
                0
            };
        }
        if deliveries.is_empty() {
            return Look::Nothing(wake);
        }
        Look::Found(Inflow::Deliveries(deliveries))
    }

    /// Whether something is to be committed.
    pub(crate) fn is_dirty(&self) -> bool {
        self.parts.values().any(Part::wants_commit)
    }

    /// Whether no handler has anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.parts.values().all(|part| part.out == 0)
    }

    /// Bytes that wait to be handed out for the first time.
    pub(crate) fn buffered(&self) -> usize {
        self.parts.values().map(|part| part.bytes).sum()
    }

    /// Messages that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.parts.values().map(Part::waiting).sum()
    }
}

fn delivery(entry: &Entry) -> Delivery {
    let not_before = entry.due.and_then(|due| {
        let after = due.duration_since(SystemTime::now()).ok()?;
        Instant::now().checked_add(after)
    });
    Delivery {
        receipt: Receipt { slot: 0, epoch: 0 },
        message: Arc::clone(&entry.message),
        position: entry.position.clone(),
        delivery: u32::from(entry.handed).max(1) + u32::from(entry.suspect && entry.handed <= 1),
        redelivered: entry.suspect,
        not_before,
        record: entry.record.map(|record| record.encode()),
        malformed: entry.malformed.clone(),
    }
}
