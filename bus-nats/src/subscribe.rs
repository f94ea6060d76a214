//! Joining a subscription.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bus_api::adapter::{Backoff, Leave, Leaving};
use bus_api::{
    Inbound, Inflow, Order, Paused, Provision, Receiver, Result, SubscriptionId, SubscriptionSpec,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::found;
use crate::broadcast;
use crate::changes::Newest;
use crate::core::Core;
use crate::error::{
    CONSUMER_EXISTS, CONSUMER_NAME_EXISTS, error, invalid_argument, invalid_config, is_refusal,
    no_subscription,
};
use crate::member::Driver;
use crate::registry::{Known, SubRecord};
use crate::runs::Reached;
use crate::settle::{NatsSettler, late};
use crate::shared::Shared;
use crate::start::{self, StoredStart};

/// The shortest lease.
pub(crate) const MIN_LEASE: Duration = Duration::from_millis(100);
/// How long until a record is read again that could not be read.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a race with other members is tried.
pub(crate) const TRIES: usize = 16;

/// One live participant of a durable subscription.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) core: Arc<Core>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: SubscriptionId,
    /// The name of the subscription on the server.
    pub(crate) sub: String,
    /// The name of the member.
    pub(crate) member: String,
    pub(crate) ordered: bool,
    pub(crate) lease: Duration,
    record: Mutex<SubRecord>,
    /// An ordered member may settle until then; none while another one is active.
    active_until: Mutex<Option<Instant>>,
    doubted: AtomicBool,
    /// The run of the server that is reached; none before it was found out.
    run: Mutex<Option<Reached>>,
    /// An operator has paused the subscription.
    paused: watch::Sender<bool>,
    pub(crate) leaving: watch::Sender<bool>,
    /// Set when the driver has left, with what came of it.
    pub(crate) left: watch::Sender<Option<Result<()>>>,
}

impl Handle {
    pub(crate) fn record(&self) -> SubRecord {
        self.record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_record(&self, record: SubRecord) {
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = record;
    }

    /// Where the record of a message is stored.
    pub(crate) fn record_subject(&self, sequence: u64) -> String {
        let era = self
            .record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .era;
        self.core.keys.record(&self.sub, era, sequence)
    }

    /// Whether it may settle: an ordered member only while it is the active one.
    pub(crate) fn is_active(&self) -> bool {
        !self.ordered
            || self
                .active_until
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_some_and(|until| until > Instant::now())
    }

    pub(crate) fn set_active(&self, until: Option<Instant>) {
        *self
            .active_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// Reads whether the subscription is paused.
    async fn look(&self) -> Result<()> {
        if let Some(known) = self.core.load(&self.sub).await? {
            self.learn(known.record.paused && !known.record.deleted);
        }
        Ok(())
    }

    /// Whether the subscription is paused, as its record says now.
    fn learn(&self, paused: bool) {
        self.record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .paused = paused;
        self.paused
            .send_if_modified(|now| std::mem::replace(now, paused) != paused);
    }

    pub(crate) fn run(&self) -> Option<Reached> {
        self.run
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_run(&self, run: Option<Reached>) {
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = run;
    }

    /// The consumer may be gone: the driver looks.
    pub(crate) fn doubt(&self) {
        self.doubted.store(true, Ordering::Release);
        self.shared.driver.notify_one();
    }

    pub(crate) fn take_doubt(&self) -> bool {
        self.doubted.swap(false, Ordering::AcqRel)
    }
}

#[async_trait]
impl Leave for Handle {
    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.leaving.send_replace(true);
        self.shared.driver.notify_one();
        let mut left = self.left.subscribe();
        let waited = tokio::time::timeout_at(deadline, left.wait_for(Option::is_some)).await;
        match waited {
            Ok(Ok(result)) => result.clone().unwrap_or(Ok(())),
            // The driver ended with its runtime or connection.
            Ok(Err(_)) => Ok(()),
            Err(_) => Err(late()),
        }
    }
}

/// Leaves when the last half is dropped.
#[derive(Debug)]
pub(crate) struct Membership(pub(crate) Arc<Handle>);

impl Drop for Membership {
    fn drop(&mut self) {
        self.0.leaving.send_replace(true);
        self.0.shared.driver.notify_one();
    }
}

pub(crate) async fn subscribe(
    core: &Arc<Core>,
    leaving: &Leaving,
    spec: SubscriptionSpec,
) -> Result<Inbound> {
    core.usable()?;
    if spec.lease < MIN_LEASE {
        return Err(invalid_config(format!(
            "the lease is {:?}; the shortest is {MIN_LEASE:?}",
            spec.lease
        )));
    }
    if spec.max_in_flight == 0 {
        return Err(invalid_argument("`max_in_flight` is at least 1"));
    }
    let Some(id) = spec.id() else {
        return broadcast::subscribe(core, leaving, spec).await;
    };
    // Before the record is read, so that no change comes between.
    let changes = core.changes();
    let record = found_in_time(core, &id, &spec).await?;
    let lease = Duration::from_millis(record.lease_millis);
    let handle = Arc::new(Handle {
        core: Arc::clone(core),
        shared: Arc::default(),
        sub: id.broker_name(),
        id,
        member: uuid::Uuid::new_v4().simple().to_string(),
        ordered: spec.order == Order::PerKey,
        lease,
        paused: watch::Sender::new(record.paused),
        record: Mutex::new(record),
        active_until: Mutex::new(None),
        doubted: AtomicBool::new(false),
        run: Mutex::new(None),
        leaving: watch::Sender::new(false),
        left: watch::Sender::new(None),
    });
    leaving.add(&handle);
    let membership = Arc::new(Membership(Arc::clone(&handle)));
    let paused = Paused::follow(&handle.paused);
    let driver = Driver::join(Arc::clone(&handle)).await?;
    core.life.spawn(driver.run());
    core.life.spawn(look_for_pause(handle, changes));
    Ok(Inbound {
        receiver: Box::new(NatsReceiver(Arc::clone(&membership))),
        settler: Arc::new(NatsSettler(membership)),
        lease,
        paused,
    })
}

/// Looks whether the subscription is paused whenever a record has changed, until the member has left.
async fn look_for_pause(handle: Arc<Handle>, mut changes: watch::Receiver<Newest>) {
    let mut left = handle.left.subscribe();
    let look = async {
        // The sender lives in the connection.
        while changes.changed().await.is_ok() {
            while handle.look().await.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    tokio::select! {
        _ = left.wait_for(Option::is_some) => {}
        () = look => {}
    }
}

/// Finds or creates the subscription; while the servers elect leaders, again.
async fn found_in_time(
    core: &Arc<Core>,
    id: &SubscriptionId,
    spec: &SubscriptionSpec,
) -> Result<SubRecord> {
    let deadline = Instant::now() + core.config.settings.connect_timeout;
    let mut backoff = Backoff::default();
    loop {
        match join(core, id, spec).await {
            Err(failed)
                if failed.is_retryable()
                    && failed.kind() != bus_api::ErrorKind::Throttled
                    && Instant::now() < deadline =>
            {
                backoff.wait(&core.life, Some(deadline)).await;
            }
            outcome => return outcome,
        }
    }
}

/// Finds or creates the subscription.
async fn join(core: &Arc<Core>, id: &SubscriptionId, spec: &SubscriptionSpec) -> Result<SubRecord> {
    let sub = id.broker_name();
    for _ in 0..TRIES {
        let log = core.log().await?;
        let known = core.load(&sub).await?;
        let stored = match known {
            Some(Known { record, revision }) if !record.deleted => {
                if record.pattern != id.pattern.as_str() || record.group != id.group.as_str() {
                    return Err(error(
                        bus_api::ErrorKind::Internal,
                        "another subscription has the same name on the server",
                    )
                    .with("subscription", id));
                }
                if *record.log == *log {
                    ensure_consumer(core, &sub, &record).await?;
                    return Ok(record);
                }
                // Its log was lost while nobody was there: it begins anew with the new one.
                let record = anew(record, &log, StoredStart::Sequence(1), true);
                core.store(&sub, record, revision).await
            }
            gone => {
                if core.config.settings.provision != Provision::Create {
                    return Err(no_subscription(id));
                }
                let (generation, era, revision) = gone.map_or((0, 0, 0), |gone| {
                    (gone.record.generation, gone.record.era, gone.revision)
                });
                let record = SubRecord {
                    group: id.group.to_string(),
                    pattern: id.pattern.to_string(),
                    log: log.to_string(),
                    start: start::resolve(core, &spec.start).await?,
                    generation: generation + 1,
                    era: era + 1,
                    lease_millis: u64::try_from(spec.lease.as_millis()).unwrap_or(u64::MAX),
                    deleted: false,
                    dropped: 0,
                    paused: false,
                };
                core.store(&sub, record, revision).await
            }
        };
        match stored {
            Ok(known) => {
                ensure_consumer(core, &sub, &known.record).await?;
                return Ok(known.record);
            }
            // Another member was faster: its record counts.
            Err(failed) if failed.kind() == bus_api::ErrorKind::Fenced => {}
            Err(failed) => return Err(failed),
        }
    }
    Err(error(
        bus_api::ErrorKind::Unavailable,
        "the subscription is changed all the time",
    ))
}

/// The record of the next consumer. `forget`: what was recorded of single messages does not count any more.
pub(crate) fn anew(record: SubRecord, log: &str, start: StoredStart, forget: bool) -> SubRecord {
    SubRecord {
        log: log.to_owned(),
        start,
        generation: record.generation + 1,
        era: record.era + u64::from(forget),
        ..record
    }
}

/// Makes sure that the consumer of a subscription is there.
pub(crate) async fn ensure_consumer(core: &Core, sub: &str, record: &SubRecord) -> Result<()> {
    let (stream, name) = (core.keys.data(), record.consumer(sub));
    if core.config.settings.provision != Provision::Create {
        return match core.consumer_info(&stream, &name).await? {
            Some(_) => Ok(()),
            None => Err(no_subscription(&record.id()?)),
        };
    }
    let config = record.consumer_config(core, sub)?;
    let exists = |failed: &bus_api::Error| {
        is_refusal(failed, CONSUMER_EXISTS) || is_refusal(failed, CONSUMER_NAME_EXISTS)
    };
    match core.create_consumer(&stream, &name, &config).await {
        Ok(_) => Ok(()),
        // The same with settings that an operator or another release has changed.
        Err(failed) if exists(&failed) => {
            let info = found(core.consumer_info(&stream, &name).await)?.flatten();
            let filter = info.map(|info| info.config["filter_subject"].clone());
            if filter.as_ref() == Some(&config["filter_subject"]) {
                return Ok(());
            }
            Err(failed)
        }
        Err(failed) => Err(failed),
    }
}

#[derive(Debug)]
struct NatsReceiver(Arc<Membership>);

#[async_trait]
impl Receiver for NatsReceiver {
    async fn receive(&mut self, max: usize) -> Result<Inflow> {
        self.0.0.shared.receive(max).await
    }
}
