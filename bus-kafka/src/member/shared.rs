//! What the threads of a member, its receiver and its settler share under one lock.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus_api::adapter::certain;
use bus_api::{Error, Order, Pattern, SubscriptionId, Topic};
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::inner::Inner;
use crate::core::Core;
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

/// Why a member leaves its group and joins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejoin {
    /// An operator moves the subscription's positions, which takes a group without members.
    Reset,
    /// The brokers do not know the group any more. In the newer protocol librdkafka 2.12 goes on telling them
    /// that it is a member, for ever.
    GroupLost,
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
    pub(crate) rejoin: Option<Rejoin>,
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
            inner: Mutex::default(),
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

    /// How long a proof that it is a member counts. In the newer protocol a commit is no sign of life, only a heartbeat is; the
    /// last one was an interval before, which is a third of a session at most.
    pub(crate) fn proof_counts(&self) -> Duration {
        let counts = certain(self.session);
        if self.core.config.has_consumer_protocol() {
            counts - self.session / 3
        } else {
            counts
        }
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
