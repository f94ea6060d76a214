//! Joining a durable subscription, and making it when it is new.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bus_api::adapter::Leaving;
use bus_api::{
    ErrorKind, Group, Inbound, Pattern, Paused, Result, Scope, SubscriptionId, SubscriptionSpec,
};

use crate::core::{Anchor, Core};
use crate::error::{closed, deleted, error, invalid_config};
use crate::interest::Follower;
use crate::member::metadata::Statement;
use crate::member::{self, Handle, MemberReceiver, Rejoin, Shared, Stage};
use crate::registry::{Stored, millis};
use crate::settle::MemberSettler;
use crate::start::From;
use crate::sys::{self, Element};
use crate::topics::{Known, Purpose, incarnation};
use crate::{broadcast, topics};

/// How long `subscribe` waits for the group to take the member in.
const JOINING: Duration = Duration::from_secs(3);

pub(crate) async fn subscribe(
    anchor: &Arc<Anchor>,
    leaving: &Leaving,
    spec: SubscriptionSpec,
) -> Result<Inbound> {
    let core = &anchor.0;
    core.usable()?;
    core.learn_limits().await?;
    let session = session(core, spec.lease)?;
    match spec.scope.clone() {
        Scope::Broadcast => broadcast::subscribe(anchor, leaving, &spec).await,
        Scope::Group(group) => durable(anchor, leaving, group, &spec, session).await,
    }
}

/// The session of a member with this lease.
fn session(core: &Core, lease: Duration) -> Result<Duration> {
    let least = core.min_lease();
    if lease < least {
        let property = if core.config.has_consumer_protocol() {
            "group.consumer.session.timeout.ms"
        } else {
            "group.min.session.timeout.ms"
        };
        return Err(invalid_config(format!(
            "the lease is {lease:?}; the broker's `{property}` is {least:?}"
        )));
    }
    if core.config.has_consumer_protocol() {
        return Ok(least);
    }
    Ok(lease.min(core.limits().max_session))
}

async fn durable(
    anchor: &Arc<Anchor>,
    leaving: &Leaving,
    group: Group,
    spec: &SubscriptionSpec,
    session: Duration,
) -> Result<Inbound> {
    let core = &anchor.0;
    let id = SubscriptionId::new(group, spec.pattern.clone());
    let name = core.names.group(&id);
    core.prepare_logs(&spec.pattern).await?;
    core.sync_registry().await?;
    let logs = core.logs_of(&spec.pattern).await?;
    let deletions = core.registry.look(|contents| contents.deletions(&name));
    match core
        .registry
        .look(|contents| contents.subscriptions.get(&name).cloned())
    {
        Some(stored) => {
            let stored = stored?;
            if stored.subscription().as_ref() != Some(&id) {
                return Err(error(
                    ErrorKind::Internal,
                    "two subscriptions have the same broker name; rename the group",
                )
                .with("subscription", &id));
            }
        }
        None => create(core, &id, &name, spec, &logs).await?,
    }
    let shared = Shared::new(
        core,
        id,
        name,
        spec.order,
        spec.max_in_flight,
        session,
        deletions,
    );
    shared.follow(&logs);
    member::start(&shared)?;
    let handle = Arc::new(Handle {
        shared: Arc::clone(&shared),
        _anchor: Arc::clone(anchor),
    });
    joined(&shared).await?;
    let follower: std::sync::Weak<dyn Follower> =
        Arc::downgrade(&(Arc::clone(&shared) as Arc<dyn Follower>));
    core.add_follower(follower);
    shared.obey_pause();
    watch_orders(&shared);
    leaving.add(&shared);
    let paused = Paused::follow(&shared.paused);
    Ok(Inbound {
        receiver: Box::new(MemberReceiver {
            shared: Arc::clone(&shared),
            _handle: Arc::clone(&handle),
        }),
        settler: Arc::new(MemberSettler {
            shared,
            _handle: handle,
        }),
        lease: session,
        paused,
    })
}

/// Waits until the group has taken the member in, for a while: its positions are committed already, so that
/// nothing is missed when that takes as long as the handlers of another member.
async fn joined(shared: &Arc<Shared>) -> Result<()> {
    let mut stage = shared.stage.subscribe();
    let joined = stage.wait_for(|stage| *stage >= Stage::Joined);
    let stage = tokio::select! {
        stage = joined => stage.map_or(Stage::Ended, |stage| *stage),
        () = shared.core.life.ended() => return Err(closed()),
        () = tokio::time::sleep(JOINING) => return Ok(()),
    };
    match stage {
        Stage::Joining | Stage::Joined => Ok(()),
        Stage::Leaving | Stage::Ended => match shared.lock().ended.clone() {
            // What another release has stored is found by reading, not by joining.
            Some(newer) if newer.kind() == ErrorKind::Unsupported => Ok(()),
            Some(failed) => Err(failed),
            None => Err(closed()),
        },
    }
}

/// Obeys what the registry says about the subscription.
fn watch_orders(shared: &Arc<Shared>) {
    let (core, weak) = (Arc::clone(&shared.core), Arc::downgrade(shared));
    let group = shared.group.clone();
    shared.core.life.spawn(async move {
        let mut registry = core.registry.watch();
        let mut obeyed = None;
        loop {
            let Some(shared) = weak.upgrade() else {
                return;
            };
            if shared.stage() >= Stage::Leaving {
                return;
            }
            let (deletions, stored) = core.registry.look(|contents| {
                (
                    contents.deletions(&group),
                    contents.subscriptions.get(&group).cloned(),
                )
            });
            if deletions != shared.deletions {
                shared.fail(deleted());
                return;
            }
            shared.obey_pause();
            match stored {
                Some(Err(newer)) => {
                    shared.fail(newer);
                    return;
                }
                Some(Ok(Stored {
                    reset: Some(order), ..
                })) if !order.done && obeyed.as_ref() != Some(&order.id) => {
                    if millis(SystemTime::now()) < order.until {
                        shared.todo().rejoin = Some(Rejoin::Reset);
                    }
                    obeyed = Some(order.id);
                }
                _ => {}
            }
            drop(shared);
            // The sender lives as long as `core`; the time-out ends the task of a member that is gone.
            let _ = tokio::time::timeout(Duration::from_secs(1), registry.changed()).await;
        }
    });
}

/// Makes a subscription: its positions first, so that whoever finds it registered finds them.
async fn create(
    core: &Arc<Core>,
    id: &SubscriptionId,
    name: &str,
    spec: &SubscriptionSpec,
    logs: &[(String, Known)],
) -> Result<()> {
    let from = core.resolve(&spec.start, logs).await?;
    match core.place(name, from).await {
        // Somebody else has made it in the meantime and has joined.
        Err(failed) if failed.kind() == ErrorKind::Fenced => {}
        placed => placed?,
    }
    let stored = Stored {
        group: id.group.to_string(),
        pattern: id.pattern.to_string(),
        reset: None,
        dropped: 0,
    };
    core.register_subscription(name, &stored).await
}

impl Core {
    /// Makes what a subscriber to `pattern` needs.
    pub(crate) async fn prepare_logs(self: &Arc<Self>, pattern: &Pattern) -> Result<()> {
        self.ensure_registry().await?;
        let Some(log) = self.names.only_log(pattern) else {
            return Ok(());
        };
        match self.ensure(&[(log, Purpose::Log)]).await {
            // The log is waited for, but not the registry.
            Err(failed) if failed.kind() == ErrorKind::NotFound => Ok(()),
            done => done.map(drop),
        }
    }

    /// Puts a group that has no members to these offsets.
    ///
    /// # Errors
    /// `Fenced` when it has members.
    pub(crate) async fn place(self: &Arc<Self>, group: &str, from: Vec<From>) -> Result<()> {
        let most = self.limits().metadata;
        let mut items: Vec<Element> = from
            .into_iter()
            .map(|from| {
                let statement = Statement::plain(incarnation(from.id), from.offset);
                let (metadata, _) = statement.encode(most, SystemTime::now());
                Element {
                    topic: from.topic,
                    partition: from.partition,
                    offset: from.offset,
                    metadata: metadata.into_bytes(),
                    error: 0,
                }
            })
            .collect();
        // So that a group without logs is known to have existed.
        items.push(Element {
            topic: self.names.registry(),
            partition: 0,
            ..Element::default()
        });
        let group = group.to_owned();
        self.ask_coordinator(move |client, patience| {
            sys::alter_group_offsets(client, &group, &items, patience)
        })
        .await
    }
}

impl Shared {
    /// Learns from the registry whether the subscription is paused.
    fn obey_pause(&self) {
        let paused = self
            .core
            .registry
            .look(|contents| contents.paused.contains(&self.group));
        self.paused
            .send_if_modified(|now| std::mem::replace(now, paused) != paused);
    }
}

impl Follower for Shared {
    fn pattern(&self) -> &Pattern {
        &self.id.pattern
    }

    fn follow(&self, logs: &[(String, Known)]) {
        let mut names = vec![self.core.names.registry()];
        match self.core.names.only_log(&self.id.pattern) {
            Some(log) => names.push(log),
            None => names.extend(logs.iter().map(|(name, _)| name.clone())),
        }
        self.subscribe_to(names);
        for (name, known) in logs {
            let other = {
                let mut inner = self.lock();
                (0..known.partitions).any(|partition| {
                    inner
                        .part(name, partition)
                        .is_some_and(|part| part.incarnation != topics::incarnation(known.id))
                })
            };
            if other {
                self.todo().recreated.push((name.clone(), known.clone()));
            }
        }
    }
}
