//! A namespace of a broker: what it keeps, behind one short lock, and who is connected to it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bus_api::{Namespace, Notice};
use tokio::sync::Notify;

use crate::config::Config;
use crate::connection::Connection;
use crate::error::closed;
use crate::state::State;

/// A namespace.
#[derive(Debug)]
pub(crate) struct Space {
    /// Tells the logs of this broker from those of every other one.
    broker: Arc<str>,
    down: Arc<AtomicBool>,
    state: Mutex<State>,
    pub(crate) connections: Mutex<Vec<Weak<Connection>>>,
    /// Something may have become idle: for [`settled`](crate::MemoryBus::settled).
    pub(crate) idle: Notify,
    next_member: AtomicU64,
}

impl Space {
    pub(crate) fn new(
        name: &Namespace,
        broker: Arc<str>,
        down: Arc<AtomicBool>,
        config: &Config,
    ) -> Self {
        Self {
            broker,
            down,
            state: Mutex::new(State::new(name, config)),
            connections: Mutex::default(),
            idle: Notify::new(),
            next_member: AtomicU64::new(1),
        }
    }

    /// The state; never held while waiting. A panic in a section leaves it usable for the others.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    pub(crate) fn broker(&self) -> &str {
        &self.broker
    }

    /// A number for a member, a responder or a requester, never used again.
    pub(crate) fn next_member(&self) -> u64 {
        self.next_member.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn live_connections(&self) -> Vec<Arc<Connection>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// Tells every connection.
    pub(crate) fn report(&self, notices: &[Notice]) {
        if notices.is_empty() {
            return;
        }
        for connection in self.live_connections() {
            for notice in notices {
                connection.announce(Some(notice.clone()));
            }
        }
    }

    /// Members and responders of this connection look at what has changed around them.
    pub(crate) fn wake_connection(&self, connection: u64) {
        let mut state = self.lock();
        for (_, subscription) in state.subscriptions.iter_mut() {
            if subscription
                .members()
                .iter()
                .any(|member| member.connection == connection)
            {
                subscription.wake_all();
            }
        }
        state.responders.wake_all();
    }

    /// A connection has ended: its members go, with what they hold when it `said_goodbye`, otherwise
    /// that comes back when the leases end.
    pub(crate) fn drop_connection(&self, connection: &Connection, said_goodbye: bool) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut broadcasts = Vec::new();
        for (key, subscription) in state.subscriptions.iter_mut() {
            let members: Vec<_> = subscription
                .members()
                .iter()
                .filter(|member| member.connection == connection.id)
                .map(|member| member.id)
                .collect();
            if !members.is_empty() && !subscription.is_durable() {
                broadcasts.push(key);
                continue;
            }
            for member in members {
                if said_goodbye {
                    subscription.leave(member, &mut state.store);
                } else {
                    subscription.lose(member, &state.store);
                }
            }
        }
        for key in broadcasts {
            state.remove(key);
        }
        state.responders.leave_connection(connection.id);
        state.responders.fail(Some(connection.id), &closed());
        drop(guard);
        self.note_idle();
    }

    /// Somebody may wait for everything to be settled.
    pub(crate) fn note_idle(&self) {
        self.idle.notify_waiters();
    }
}
