//! What the threads of a member, its receiver and its settler share under one lock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bus_api::{Delivery, Error, Inflow, Order, Pattern, Receipt, Result, SubscriptionId, Topic};
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::metadata::Statement;
use super::partition::{Entry, Part};
use crate::core::Core;
use crate::gather::Gather;
use crate::topics::Known;

/// How a member is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It is not yet in the group.
    Joining,
    /// It is in the group.
    Joined,
    /// It was told to leave.
    Leaving,
    /// Its threads have ended.
    Ended,
}

/// Something that rests, soonest first.
type Resting = Reverse<(Instant, u64, i64, u16)>;

/// What the lock protects.
pub(crate) struct Inner {
    /// By epoch.
    pub(crate) parts: HashMap<u64, Part>,
    /// Epochs by topic and partition.
    names: HashMap<String, HashMap<i32, u64>>,
    /// Whose turn it is to hand out.
    turn: VecDeque<u64>,
    resting: BinaryHeap<Resting>,
    pub(crate) news: VecDeque<Inflow>,
    pub(crate) ended: Option<Error>,
    next_epoch: u64,
    /// What the member knew of partitions when it lost them, until it is in the group again.
    pub(crate) remembered: HashMap<(String, i32), Statement>,
    /// Bytes that wait.
    pub(crate) buffered: usize,
}

/// What the polling thread is told by others, and by its own callbacks.
#[derive(Default)]
pub(crate) struct Todo {
    /// Partitions that were assigned and do not fetch yet.
    pub(crate) assigned: Vec<TopicPartitionList>,
    /// Partitions that wait for their handlers, at most until then.
    pub(crate) revoked: Vec<(TopicPartitionList, Instant)>,
    /// What to be subscribed to from now on.
    pub(crate) topics: Option<Vec<String>>,
    /// Topics that are other ones by now.
    pub(crate) recreated: Vec<(String, Known)>,
    /// Leave, and join anew.
    pub(crate) rejoin: bool,
    /// When the group had last shut the member out.
    pub(crate) lost_at: Option<Instant>,
}

/// What the threads of a member, its receiver and its settler share.
pub(crate) struct Shared {
    pub(crate) core: Arc<Core>,
    pub(crate) id: SubscriptionId,
    /// The Kafka group.
    pub(crate) group: String,
    pub(crate) order: Order,
    pub(crate) max_in_flight: usize,
    pub(crate) session: Duration,
    /// How often the subscription had been deleted before it was joined.
    pub(crate) deletions: u64,
    inner: Mutex<Inner>,
    todo: Mutex<Todo>,
    /// What it is subscribed to.
    topics: Mutex<Vec<String>>,
    /// An operator has paused the subscription.
    pub(crate) paused: watch::Sender<bool>,
    /// Wakes the receiver.
    pub(crate) receiver: Notify,
    /// Wakes the committer.
    pub(crate) work: Condvar,
    pub(crate) stage: watch::Sender<Stage>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        core: &Arc<Core>,
        id: SubscriptionId,
        group: String,
        order: Order,
        max_in_flight: usize,
        session: Duration,
        deletions: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            core: Arc::clone(core),
            id,
            group,
            order,
            max_in_flight,
            session,
            deletions,
            inner: Mutex::new(Inner {
                parts: HashMap::new(),
                names: HashMap::new(),
                turn: VecDeque::new(),
                resting: BinaryHeap::new(),
                news: VecDeque::new(),
                ended: None,
                next_epoch: 1,
                remembered: HashMap::new(),
                buffered: 0,
            }),
            todo: Mutex::default(),
            topics: Mutex::default(),
            paused: watch::Sender::new(false),
            receiver: Notify::new(),
            work: Condvar::new(),
            stage: watch::Sender::new(Stage::Joining),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn todo(&self) -> MutexGuard<'_, Todo> {
        self.todo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Kafka topics that it is subscribed to.
    pub(crate) fn topics(&self) -> Vec<String> {
        self.topics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Subscribes to these Kafka topics from now on.
    pub(crate) fn subscribe_to(&self, topics: Vec<String>) {
        let mut now = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != topics {
            now.clone_from(&topics);
            self.todo().topics = Some(topics);
        }
    }

    /// The committer waits for work, at most that long.
    pub(crate) fn wait_for_work<'a>(
        &self,
        inner: MutexGuard<'a, Inner>,
        longest: Duration,
    ) -> MutexGuard<'a, Inner> {
        self.work
            .wait_timeout(inner, longest)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    pub(crate) fn pattern(&self) -> &Pattern {
        &self.id.pattern
    }

    /// The topic of messages of a Kafka topic that name none.
    pub(crate) fn root(&self, topic: &str) -> Option<Topic> {
        Topic::new(self.core.names.root(topic)?).ok()
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Goes on to `stage`; never back.
    pub(crate) fn advance(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let onward = *now < stage;
            if onward {
                *now = stage;
            }
            onward
        });
    }

    /// Ends the subscription: the receiver reports `error`, and the threads end.
    pub(crate) fn fail(&self, error: Error) {
        self.lock().ended.get_or_insert(error);
        self.advance(Stage::Leaving);
        self.receiver.notify_one();
        self.work.notify_all();
    }

    /// Whether delayed messages rest here; of an ordered subscription they rest in their key's lane.
    pub(crate) fn parks(&self) -> bool {
        self.order == Order::None
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
        self.turn.push_back(epoch);
        self.parts.insert(epoch, part);
    }

    /// The part of a partition.
    pub(crate) fn part(&mut self, topic: &str, partition: i32) -> Option<&mut Part> {
        let epoch = self.names.get(topic)?.get(&partition)?;
        self.parts.get_mut(epoch)
    }

    /// Notes what was committed of a partition that is about to be lost: what was settled since is not confirmed.
    pub(crate) fn remember(&mut self, topic: &str, partition: i32) {
        if let Some(part) = self.part(topic, partition) {
            let statement = part.last_committed().clone();
            self.remembered
                .insert((topic.to_owned(), partition), statement);
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
            part.lose();
            let receipts = part.receipts();
            if tell && !receipts.is_empty() {
                self.news.push_back(Inflow::Lost(receipts));
            }
        }
    }

    /// Forgets all partitions; the member is told what it lost.
    pub(crate) fn lose_all(&mut self) {
        let receipts: Vec<Receipt> = self.parts.values().flat_map(Part::receipts).collect();
        if !receipts.is_empty() {
            self.news.push_back(Inflow::Lost(receipts));
        }
        self.remembered.clear();
        self.clear();
    }

    /// Whoever waits learns that it is all over.
    pub(crate) fn clear(&mut self) {
        for part in self.parts.values_mut() {
            part.lose();
        }
        self.parts.clear();
        self.names.clear();
        self.turn.clear();
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
        if let Some(news) = self.news.pop_front() {
            return Look::Found(news);
        }
        let wake = self.wake_rested(Instant::now());
        if max == 0 {
            return Look::Nothing(None);
        }
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
                let size = if entry.handed == 1 {
                    entry.message.size()
                } else {
                    0
                };
                let delivery = delivery(entry);
                let handed = entry.handed;
                self.buffered = self.buffered.saturating_sub(size);
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
        self.parts.values().any(|part| part.dirty)
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
