//! One live participant of a durable subscription: two threads, and the halves that the core holds.

mod assigning;
mod committer;
mod context;
mod doubts;
mod inner;
pub(crate) mod metadata;
mod partition;
mod poll;
mod shared;
mod silence;

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bus_api::adapter::{Leave, Life, until};
use bus_api::{ErrorKind, Inflow, Receiver, Result};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use tokio::time::Instant;

use self::context::{Context, let_go};
pub(crate) use self::inner::Inner;
use self::inner::Look;
pub(crate) use self::shared::{Rejoin, Shared, Stage};
use self::silence::BACKOFF;
use crate::core::{Anchor, Core};
use crate::error::{closed, error, from_client};
use crate::registry::millis;
use crate::{flow, thread};

/// How often a member that waits for a reset looks for its end.
const STEP: Duration = Duration::from_millis(50);

/// Starts the threads of a member that is subscribed to what `shared` says.
///
/// # Errors
/// `InvalidConfig` for properties that the client library refuses.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<()> {
    // So that a wrong property is found here.
    let first = consumer(shared)?;
    let shared = Arc::clone(shared);
    thread::start("member", move || {
        let unclosed = live(&shared, first);
        drop(shared);
        drop(unclosed);
    })
    .map(drop)
}

fn consumer(shared: &Arc<Shared>) -> Result<Arc<BaseConsumer<Context>>> {
    let config = &shared.core.config;
    let mut client = config.client();
    client
        .set("group.id", &shared.group)
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("topic.metadata.refresh.interval.ms", "5000")
        // A partition that is added waits for the fetch that is under way.
        .set("fetch.wait.max.ms", "100")
        .set("fetch.error.backoff.ms", BACKOFF.as_millis().to_string());
    flow::bound(&mut client);
    config.in_group(&mut client, shared.session);
    config.finish(&mut client);
    let context = Context::new(shared);
    client
        .create_with_context(context)
        .map(Arc::new)
        .map_err(|native| from_client(&native))
}

/// The life of a member: joining, and joining anew after a reset, until it leaves; its client as [`close`] returns it.
fn live(
    shared: &Arc<Shared>,
    first: Arc<BaseConsumer<Context>>,
) -> Option<Arc<BaseConsumer<Context>>> {
    let mut next = Some(first);
    let unclosed = loop {
        let joining = match next.take() {
            Some(consumer) => Ok(consumer),
            None => consumer(shared),
        };
        let consumer = match joining {
            Ok(consumer) => consumer,
            Err(failed) => {
                shared.fail(failed);
                break None;
            }
        };
        shared.todo().topics = Some(shared.topics());
        let committer = {
            let (shared, consumer) = (Arc::clone(shared), Arc::clone(&consumer));
            thread::start("commit", move || committer::run(&shared, &consumer))
        };
        poll::run(shared, &consumer);
        consumer.context().halt();
        shared.work.notify_all();
        if let Ok(committer) = committer {
            // A thread that panicked has nothing to tell.
            let _ = committer.join();
        }
        let rejoin = shared.todo().rejoin.take();
        let is_over = shared.core.life.is_over();
        let rejoin = rejoin.filter(|_| shared.stage() < Stage::Leaving && !is_over);
        match rejoin {
            Some(Rejoin::Reset) => shared.lock().lose_all(),
            Some(Rejoin::GroupLost) => shared.lock().suspend_all(),
            None if is_over => {}
            None => release(shared, &consumer),
        }
        shared.receiver.notify_one();
        let_go(shared, &consumer);
        let unclosed = close(&shared.core.life, consumer);
        match rejoin {
            Some(_) if unclosed.is_some() => break unclosed,
            Some(Rejoin::Reset) => wait_for_reset(shared),
            Some(Rejoin::GroupLost) => shared.todo().lost_at = Some(Instant::now()),
            None => break unclosed,
        }
    };
    shared.lock().clear();
    shared.advance(Stage::Ended);
    shared.receiver.notify_one();
    unclosed
}

/// Leaves the group and closes its client. One whose connection is over is returned: its closing waits as long as brokers
/// that are away may still answer, and whoever drops it lets go of the connection first.
pub(crate) fn close<C: ConsumerContext, H: Borrow<BaseConsumer<C>>>(
    life: &Life,
    consumer: H,
) -> Option<H> {
    if life.is_over() {
        return Some(consumer);
    }
    leave_group(consumer.borrow());
    None
}

/// Leaves the group in so many words: closing alone does not when the member has no partition (librdkafka
/// 2.12), and the others would wait for it until its session ends.
fn leave_group<C: ConsumerContext>(consumer: &BaseConsumer<C>) {
    /// How long the group's part of it is served; the brokers are told within that.
    const FAREWELL: Duration = Duration::from_millis(100);
    consumer.unsubscribe();
    let until = Instant::now() + FAREWELL;
    while Instant::now() < until {
        drop(consumer.poll(FAREWELL / 5));
    }
}

/// Commits what a leaving member knows; again when the group was rebalancing.
fn release(shared: &Arc<Shared>, consumer: &Arc<BaseConsumer<Context>>) {
    const TRIES: usize = 4;
    for _ in 0..TRIES {
        if committer::commit(shared, consumer, true) {
            return;
        }
        let_go(shared, consumer);
    }
}

/// Waits until the order that made the member leave was carried out, or its giver has died.
fn wait_for_reset(shared: &Shared) {
    while shared.stage() < Stage::Leaving && !shared.core.life.is_over() {
        let waits =
            shared
                .core
                .registry
                .look(|contents| match contents.subscriptions.get(&shared.group) {
                    Some(Ok(stored)) => stored.reset.as_ref().is_some_and(|reset| {
                        !reset.done && millis(SystemTime::now()) < reset.until
                    }),
                    _ => false,
                });
        if !waits {
            return;
        }
        std::thread::sleep(STEP);
    }
}

/// The receiving half.
pub(crate) struct MemberReceiver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) _handle: Arc<Handle>,
}

#[async_trait]
impl Receiver for MemberReceiver {
    async fn receive(&mut self, max: usize) -> Result<Inflow> {
        loop {
            let woken = self.shared.receiver.notified();
            let look = {
                let mut inner = self.shared.lock();
                if self.shared.core.life.is_over() {
                    return Err(closed());
                }
                if let Some(ended) = &inner.ended {
                    return Err(ended.clone());
                }
                if self.shared.stage() >= Stage::Leaving {
                    return Err(closed());
                }
                let look = inner.look(max);
                if inner.is_dirty() {
                    self.shared.work.notify_all();
                }
                look
            };
            match look {
                Look::Found(inflow) => return Ok(inflow),
                Look::Nothing(next) => {
                    tokio::select! {
                        () = woken => {}
                        () = until(next) => {}
                        () = self.shared.core.life.ended() => {}
                    }
                }
            }
        }
    }
}

/// Held by both halves: when both are dropped, the member leaves.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) _anchor: Arc<Anchor>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.advance(Stage::Leaving);
    }
}

#[async_trait]
impl Leave for Shared {
    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.advance(Stage::Leaving);
        self.receiver.notify_one();
        self.work.notify_all();
        let mut stage = self.stage.subscribe();
        let ended = stage.wait_for(|stage| *stage == Stage::Ended);
        tokio::select! {
            _ = ended => Ok(()),
            () = self.core.life.ended() => Err(closed()),
            () = tokio::time::sleep_until(deadline) => Err(error(
                ErrorKind::Timeout,
                "the member had not left the group at the deadline; its session ends it",
            )),
        }
    }
}

impl Core {
    /// How positions name the log of a partition.
    pub(crate) fn log_name(&self, topic: &str, partition: i32, id: u128) -> Arc<str> {
        self.topics
            .known(topic)
            .filter(|known| known.id == id)
            .and_then(|known| known.log(partition).cloned())
            .unwrap_or_else(|| crate::topics::log_name(topic, partition, id))
    }
}
