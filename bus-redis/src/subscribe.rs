//! Joining a subscription.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bus_api::adapter::{Leave, Leaving};
use bus_api::{
    Inbound, Inflow, Order, Paused, Provision, Receiver, Result, Scope, SubscriptionId,
    SubscriptionSpec, Topic,
};
use redis::{Pipeline, Value};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::core::Core;
use crate::error::{error, invalid_argument, invalid_config, no_subscription};
use crate::hints::Hints;
use crate::link;
use crate::member::{Driver, Inbox};
use crate::registry::Interest;
use crate::settle::RedisSettler;
use crate::shared::Shared;
use crate::start::{self, StoredStart, SubRecord};
use crate::value::Take;
use crate::{broadcast, keys};

/// What lies under the key of a paused subscription: the version of that record, which says no more.
const PAUSED: u8 = 1;
/// The shortest lease.
pub(crate) const MIN_LEASE: Duration = Duration::from_millis(100);

/// One live participant of a durable subscription.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) core: Arc<Core>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: SubscriptionId,
    /// The name of the subscription on the server, and of its consumer groups.
    pub(crate) sub: String,
    pub(crate) ordered: bool,
    pub(crate) lease: Duration,
    /// An operator has paused the subscription.
    pub(crate) paused: watch::Sender<bool>,
    identity: Mutex<(Arc<str>, u64)>,
    pub(crate) inbox: Inbox,
    pub(crate) leaving: watch::Sender<bool>,
    /// Set when the driver has left, with what came of it.
    pub(crate) left: watch::Sender<Option<Result<()>>>,
}

impl Handle {
    /// The topics that it takes, as far as they are known here.
    pub(crate) fn topics(&self) -> BTreeSet<Topic> {
        self.core.registry.matching(&self.id.pattern)
    }

    /// The name of the member, and how often it had to take a new one.
    pub(crate) fn identity(&self) -> (Arc<str>, u64) {
        self.identity
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The member goes on under another name: what it held under the old one is lost.
    pub(crate) fn rename(&self) {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        *identity = (new_name(), identity.1 + 1);
    }

    /// The consumer that holds what this member reads.
    pub(crate) fn consumer(&self, name: &Arc<str>) -> Arc<str> {
        if self.ordered {
            Arc::from(keys::ONE)
        } else {
            Arc::clone(name)
        }
    }
}

fn new_name() -> Arc<str> {
    uuid::Uuid::new_v4().simple().to_string().into()
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
            Err(_) => Err(error(
                bus_api::ErrorKind::Timeout,
                "leaving was not confirmed until the deadline; the lease frees what is left",
            )),
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
    Hints::start(core).await;
    core.registry.refresh(core).await?;
    let Some(id) = spec.id() else {
        return broadcast::subscribe(core, leaving, spec).await;
    };
    debug_assert!(matches!(spec.scope, Scope::Group(_)));
    let record = join(core, &id, &spec).await?;
    let handle = Arc::new(Handle {
        core: Arc::clone(core),
        shared: Arc::default(),
        sub: id.broker_name(),
        id,
        ordered: spec.order == Order::PerKey,
        lease: spec.lease,
        paused: watch::Sender::new(false),
        identity: Mutex::new((new_name(), 0)),
        inbox: Inbox::default(),
        leaving: watch::Sender::new(false),
        left: watch::Sender::new(None),
    });
    let interest: Arc<dyn Interest> = handle.clone();
    core.registry.register(&interest);
    leaving.add(&handle);
    let membership = Arc::new(Membership(Arc::clone(&handle)));
    let mut driver = Driver::new(Arc::clone(&handle), record);
    driver.join().await?;
    let paused = Paused::follow(&membership.0.paused);
    core.life.spawn(driver.run());
    Ok(Inbound {
        receiver: Box::new(RedisReceiver(Arc::clone(&membership))),
        settler: Arc::new(RedisSettler(membership)),
        lease: spec.lease,
        paused,
    })
}

/// The record of a subscription; `None` when there is none.
pub(crate) async fn load(core: &Core, sub: &str) -> Result<Option<SubRecord>> {
    let command = redis::cmd("HGET")
        .arg(core.keys.subscriptions())
        .arg(sub)
        .take();
    match core.control.run(&command).await? {
        Value::Nil => Ok(None),
        stored => SubRecord::decode(&stored.bytes("reading a subscription")?).map(Some),
    }
}

/// Stores the record.
pub(crate) async fn store(core: &Core, sub: &str, record: &SubRecord) -> Result<()> {
    let command = redis::cmd("HSET")
        .arg(core.keys.subscriptions())
        .arg(sub)
        .arg(record.encode())
        .take();
    core.control.run(&command).await.map(drop)
}

/// Pauses a subscription or lets it go on: a key on the root where all its members have a lease, and a hint.
pub(crate) async fn set_paused(core: &Core, id: &SubscriptionId, paused: bool) -> Result<()> {
    let (root, sub) = (keys::home(&id.pattern), id.broker_name());
    let key = core.keys.subscription(root, &sub).paused;
    let mut pipeline = Pipeline::new();
    if paused {
        pipeline.cmd("SET").arg(key).arg(PAUSED);
    } else {
        pipeline.cmd("DEL").arg(key);
    }
    let hint = format!("m {sub}");
    pipeline
        .cmd("PUBLISH")
        .arg(core.keys.channel(root))
        .arg(hint);
    for reply in core.control.run_all(&pipeline).await? {
        link::ok(reply)?;
    }
    Ok(())
}

/// Finds or creates the subscription, with groups on every topic that is there.
async fn join(core: &Arc<Core>, id: &SubscriptionId, spec: &SubscriptionSpec) -> Result<SubRecord> {
    let sub = id.broker_name();
    let known = load(core, &sub).await?;
    let mut record = match known {
        Some(record) if !record.deleted => {
            if record.pattern != id.pattern.as_str() || record.group != id.group.as_str() {
                return Err(error(
                    bus_api::ErrorKind::Internal,
                    "another subscription has the same name on the server",
                )
                .with("subscription", id));
            }
            record
        }
        gone => {
            if core.config.settings.provision != Provision::Create {
                return Err(no_subscription(id));
            }
            start::check(core, &spec.start).await?;
            let record = SubRecord {
                group: id.group.to_string(),
                pattern: id.pattern.to_string(),
                start: StoredStart::new(&spec.start)?,
                ready: false,
                epoch: gone.as_ref().map_or(0, |gone| gone.epoch + 1),
                deleted: false,
            };
            create(core, &sub, gone.is_some(), record).await?
        }
    };
    if !record.ready {
        create_groups(core, id, &sub, &record).await?;
        record.ready = true;
        store(core, &sub, &record).await?;
    }
    Ok(record)
}

/// Stores a new record; when another member was faster, its record counts.
async fn create(core: &Core, sub: &str, replace: bool, record: SubRecord) -> Result<SubRecord> {
    if replace {
        store(core, sub, &record).await?;
        return Ok(record);
    }
    let command = redis::cmd("HSETNX")
        .arg(core.keys.subscriptions())
        .arg(sub)
        .arg(record.encode())
        .take();
    core.control.run(&command).await?;
    Ok(load(core, sub).await?.unwrap_or(record))
}

async fn create_groups(
    core: &Core,
    id: &SubscriptionId,
    sub: &str,
    record: &SubRecord,
) -> Result<()> {
    let topics: Vec<Topic> = core.registry.matching(&id.pattern).into_iter().collect();
    for topics in topics.chunks(1_024) {
        let mut pipeline = Pipeline::new();
        for topic in topics {
            pipeline
                .cmd("XGROUP")
                .arg("CREATE")
                .arg(core.keys.stream(topic))
                .arg(sub)
                .arg(record.start.resolve(topic, true));
        }
        for reply in core.control.run_all(&pipeline).await? {
            match reply {
                // Another member was faster; or there is no such stream yet: it is found when it appears.
                Value::ServerError(reply)
                    if reply.code() == "BUSYGROUP"
                        || reply.details().is_some_and(|details| {
                            details.contains("requires the key to exist")
                        }) => {}
                reply => {
                    link::ok(reply)?;
                }
            }
        }
    }
    Ok(())
}

#[derive(Debug)]
struct RedisReceiver(Arc<Membership>);

#[async_trait]
impl Receiver for RedisReceiver {
    async fn receive(&mut self, max: usize) -> Result<Inflow> {
        self.0.0.shared.receive(max).await
    }
}
