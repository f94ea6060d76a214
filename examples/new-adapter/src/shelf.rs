//! The "broker": one log behind a lock, and what each subscription knows about it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bus_api::{
    AttemptRecord, DeadLetter, Group, Message, Offset, Position, Published, SubscriptionId,
};
use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// The shared state. A real adapter has a connection here.
#[derive(Debug, Default)]
pub struct Shelf {
    state: Mutex<State>,
    /// Rung whenever something may have become deliverable.
    pub(crate) bell: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) log: Vec<Stored>,
    pub(crate) subscriptions: HashMap<SubscriptionId, Reading>,
    pub(crate) dead: BTreeMap<Group, Vec<DeadLetter>>,
    pub(crate) members: u64,
}

#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) message: Arc<Message>,
    pub(crate) position: Position,
}

/// What a subscription knows: how far it has read, and what was handed over and not settled.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) next: usize,
    pub(crate) unsettled: BTreeMap<usize, Unsettled>,
    pub(crate) members: u64,
    pub(crate) paused: watch::Sender<bool>,
}

#[derive(Debug)]
pub(crate) struct Unsettled {
    /// Who holds it and until when; `None` when it waits to be handed over again.
    pub(crate) holder: Option<(u64, Instant)>,
    pub(crate) not_before: Instant,
    pub(crate) deliveries: u32,
    pub(crate) started: bool,
    pub(crate) record: Option<Bytes>,
}

impl Shelf {
    /// A lock that a panicking test poisoned is still a lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn store(&self, message: Arc<Message>) -> Published {
        let mut state = self.lock();
        let stored_at = bus_api::clock::now();
        let offset = Offset(state.log.len() as u64, 0);
        let position = Position::new("shelf".into(), offset, stored_at);
        state.log.push(Stored {
            message,
            position: position.clone(),
        });
        drop(state);
        self.bell.notify_waiters();
        Published {
            position: Some(position),
            stored_at: Some(stored_at),
            duplicate: false,
        }
    }
}

impl State {
    /// The first message that was stored at `time` or later.
    pub(crate) fn at(&self, time: SystemTime) -> usize {
        self.log
            .partition_point(|stored| stored.position.stored_at() < time)
    }
}

impl Unsettled {
    /// Whether it can be handed over: it rests no longer, and nobody alive holds it.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.not_before <= now && self.holder.is_none_or(|(_, until)| until <= now)
    }

    /// Gives it back to whoever comes next.
    pub(crate) fn free(&mut self, not_before: Instant, record: Option<AttemptRecord>) {
        self.holder = None;
        self.not_before = not_before;
        if let Some(record) = record {
            self.record = Some(record.encode());
        }
    }
}
