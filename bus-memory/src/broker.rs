//! The broker: what connections of one name share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bus_api::{Namespace, Notice};
use uuid::Uuid;

use crate::config::Config;
use crate::error::unavailable;
use crate::space::Space;

/// The brokers that have a name, for as long as the process lives.
static NAMED: Mutex<BTreeMap<String, Broker>> = Mutex::new(BTreeMap::new());

/// A broker in this process: namespaces with their logs, subscriptions and dead letters.
///
/// Applications need none of its methods; they are the means by which tests take it away, bring it back
/// and damage it. Cloning gives another handle to the same broker.
#[derive(Clone)]
pub struct Broker(Arc<Shared>);

struct Shared {
    /// Tells its logs from those of every other broker.
    id: Arc<str>,
    name: Option<String>,
    down: Arc<AtomicBool>,
    spaces: Mutex<BTreeMap<Namespace, Arc<Space>>>,
}

impl Broker {
    /// A broker of its own, without a name.
    #[must_use]
    pub fn new() -> Self {
        Self::make(None)
    }

    /// The broker of this name, made when there is none.
    #[must_use]
    pub fn named(name: &str) -> Self {
        NAMED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(name.to_owned())
            .or_insert_with(|| Self::make(Some(name.to_owned())))
            .clone()
    }

    /// Makes the process forget the broker of this name: the next connection gets a fresh one, and what
    /// it kept is freed with its last connection. Says whether there was one.
    pub fn forget(name: &str) -> bool {
        NAMED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name)
            .is_some()
    }

    fn make(name: Option<String>) -> Self {
        let mut id = Uuid::new_v4().simple().to_string();
        id.truncate(16);
        Self(Arc::new(Shared {
            id: id.into(),
            name,
            down: Arc::default(),
            spaces: Mutex::default(),
        }))
    }

    /// Its name, when it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The namespaces that connections have used, in order of their names.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Namespace> {
        self.0
            .spaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect()
    }

    /// Takes the broker away without warning, as when its process is killed: calls fail with `Unavailable`
    /// or wait, requests under way are lost. What it keeps stays. Idempotent.
    pub fn stop(&self) {
        if self.0.down.swap(true, Ordering::AcqRel) {
            return;
        }
        for space in self.spaces() {
            space
                .lock()
                .responders
                .fail(None, &unavailable().indeterminate());
            for connection in space.live_connections() {
                space.wake_connection(connection.id);
                connection.announce(Some(Notice::Disconnected));
            }
        }
    }

    /// Brings the broker back with everything that it kept; members and waiting calls go on. Idempotent.
    pub fn start(&self) {
        if !self.0.down.swap(false, Ordering::AcqRel) {
            return;
        }
        for space in self.spaces() {
            for connection in space.live_connections() {
                space.wake_connection(connection.id);
                connection.announce(Some(Notice::Reconnected));
            }
        }
    }

    /// Whether it was taken away.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.down.load(Ordering::Acquire)
    }

    fn spaces(&self) -> Vec<Arc<Space>> {
        self.0
            .spaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// The namespace that `config` names, made when it is new.
    pub(crate) fn space(&self, config: &Config) -> Arc<Space> {
        let name = &config.settings.namespace;
        let mut spaces = self.0.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(space) = spaces.get(name) {
            space.lock().configure(config, false);
            return Arc::clone(space);
        }
        let space = Arc::new(Space::new(
            name,
            Arc::clone(&self.0.id),
            Arc::clone(&self.0.down),
            config,
        ));
        spaces.insert(name.clone(), Arc::clone(&space));
        space
    }

    /// A namespace, when a connection has used it.
    pub(crate) fn find_space(&self, name: &Namespace) -> Option<Arc<Space>> {
        self.0
            .spaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }
}

impl Default for Broker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("name", &self.0.name)
            .field("namespaces", &self.namespaces())
            .finish_non_exhaustive()
    }
}
