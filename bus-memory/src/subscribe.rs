//! Joining a subscription and receiving its messages.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bus_api::{Inbound, Inflow, Paused, Provision, Receiver, Result, Scope, SubscriptionSpec};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::error::{closed, deleted, invalid_argument, invalid_config, no_subscription};
use crate::settle::MemorySettler;
use crate::slab::Key;
use crate::subscription::{Member, Taken};

/// The shortest lease.
pub(crate) const MIN_LEASE: Duration = Duration::from_millis(10);

/// One live participant of a subscription, shared by its two halves; gone with the last of them.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) connection: Arc<Connection>,
    pub(crate) subscription: Key,
    pub(crate) id: u64,
    pub(crate) lease: Duration,
    pub(crate) durable: bool,
    wake: Arc<Notify>,
}

pub(crate) fn subscribe(
    connection: &Arc<Connection>,
    spec: &SubscriptionSpec,
    provision: Provision,
) -> Result<Inbound> {
    connection.usable()?;
    if spec.lease < MIN_LEASE {
        return Err(invalid_config(format!(
            "the lease is {:?}; the shortest is {MIN_LEASE:?}",
            spec.lease
        )));
    }
    if spec.max_in_flight == 0 {
        return Err(invalid_argument("`max_in_flight` is at least 1"));
    }
    let space = &connection.space;
    let id = space.next_member();
    let wake = Arc::new(Notify::new());
    let mut state = space.lock();
    state.expire(Instant::now());
    let key = match spec.id() {
        Some(id) => match state.durable.get(&id) {
            Some(key) => *key,
            None if provision == Provision::Create => {
                state.create(Some(id), &spec.pattern, &spec.start)?
            }
            None => return Err(no_subscription(&id)),
        },
        None => state.create(None, &spec.pattern, &spec.start)?,
    };
    let state = &mut *state;
    let mut paused = Paused::never();
    if let Some(subscription) = state.subscriptions.get_mut(key) {
        paused = Paused::follow(&subscription.paused);
        let member = Member {
            id,
            connection: connection.id,
            lease: spec.lease,
            order: spec.order,
            wake: Arc::clone(&wake),
            lost: Vec::new(),
        };
        subscription.join(member, &state.store);
    }
    let membership = Arc::new(Membership {
        connection: Arc::clone(connection),
        subscription: key,
        id,
        lease: spec.lease,
        durable: matches!(spec.scope, Scope::Group(_)),
        wake,
    });
    Ok(Inbound {
        receiver: Box::new(MemoryReceiver(Arc::clone(&membership))),
        settler: Arc::new(MemorySettler(membership)),
        lease: spec.lease,
        paused,
    })
}

impl Membership {
    /// Leaves: what is held comes back at once; a broadcast is gone. Nothing when it has left already.
    pub(crate) fn leave(&self) {
        {
            let mut state = self.connection.space.lock();
            let state = &mut *state;
            if !self.durable {
                state.remove(self.subscription);
            } else if let Some(subscription) = state.subscriptions.get_mut(self.subscription) {
                subscription.leave(self.id, &mut state.store);
            }
        }
        self.wake.notify_one();
        self.connection.space.note_idle();
    }

    /// What there is for this member, or how long to wait at most.
    fn take(&self, max: usize) -> Result<Taken> {
        let space = &self.connection.space;
        let mut state = space.lock();
        if let Err(error) = self.connection.usable() {
            let mut lost = Vec::new();
            if let Some(subscription) = state.subscriptions.get_mut(self.subscription) {
                subscription.give_up_waiting(self.id);
                // That a lease has ended is known without the broker.
                lost = subscription.take_lost(self.id);
            }
            // A broker that is away is waited for: whoever brings it back wakes the members.
            return if self.connection.is_closed() {
                Err(error)
            } else if lost.is_empty() {
                Ok(Taken::Nothing(None))
            } else {
                Ok(Taken::Lost(lost))
            };
        }
        let now = Instant::now();
        state.expire(now);
        let state = &mut *state;
        let Some(subscription) = state.subscriptions.get_mut(self.subscription) else {
            return Err(if self.durable { deleted() } else { closed() });
        };
        let taken = subscription.take(self.id, max, now, &mut state.store, &state.logs);
        match taken {
            Taken::Gone => Err(closed()),
            taken => Ok(taken),
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // A connection that was cut off cannot say goodbye.
        if self.connection.usable().is_ok() || !self.durable {
            self.leave();
        } else {
            let mut state = self.connection.space.lock();
            let state = &mut *state;
            if let Some(subscription) = state.subscriptions.get_mut(self.subscription) {
                subscription.lose(self.id, &state.store);
            }
        }
    }
}

#[derive(Debug)]
struct MemoryReceiver(Arc<Membership>);

#[async_trait]
impl Receiver for MemoryReceiver {
    async fn receive(&mut self, max: usize) -> Result<Inflow> {
        loop {
            let look_again = match self.0.take(max)? {
                Taken::Deliveries(deliveries) => {
                    if !self.0.durable {
                        self.0.connection.space.note_idle();
                    }
                    return Ok(Inflow::Deliveries(deliveries));
                }
                Taken::Lost(receipts) => return Ok(Inflow::Lost(receipts)),
                Taken::Nothing(look_again) => look_again,
                Taken::Gone => return Err(closed()),
            };
            let mut waiting = Waiting(Some(&self.0));
            let woken = self.0.wake.notified();
            match look_again {
                Some(at) => {
                    tokio::select! {
                        () = woken => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => woken.await,
            }
            waiting.0 = None;
        }
    }
}

/// A member that waits. When its wait is cancelled, what it may have been woken for goes to another.
struct Waiting<'a>(Option<&'a Membership>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(member) = self.0 {
            let mut state = member.connection.space.lock();
            if let Some(subscription) = state.subscriptions.get_mut(member.subscription) {
                subscription.give_up_waiting(member.id);
            }
        }
    }
}
