//! What all parts of a connection share.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bus_api::Result;
use bus_api::adapter::Life;

use crate::config::Config;
use crate::endpoint::Endpoint;
use crate::error::closed;
use crate::hints::Hints;
use crate::keys::Keys;
use crate::link::Link;
use crate::registry::Registry;

/// How long the server may take to answer before the connection is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What all parts of a connection share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) keys: Keys,
    pub(crate) life: Arc<Life>,
    pub(crate) endpoint: Arc<Endpoint>,
    /// Publishing.
    pub(crate) publishing: Arc<Link>,
    /// Fetching messages.
    pub(crate) reading: Arc<Link>,
    /// Settling, leases, administration.
    pub(crate) control: Arc<Link>,
    pub(crate) registry: Registry,
    pub(crate) hints: Hints,
    anchor: OnceLock<Weak<Anchor>>,
}

/// Whoever uses the connection holds one; with the last of them its tasks end.
#[derive(Debug)]
pub(crate) struct Anchor(Arc<Core>);

impl Drop for Anchor {
    fn drop(&mut self) {
        self.0.kill();
    }
}

impl Core {
    pub(crate) fn new(config: Config, endpoint: Endpoint) -> Arc<Self> {
        let life = Arc::new(Life::default());
        let endpoint = Arc::new(endpoint);
        let link = || Link::new(Arc::clone(&endpoint), Arc::clone(&life), ANSWER_TIMEOUT);
        Arc::new(Self {
            keys: Keys::new(config.settings.namespace.clone()),
            publishing: link(),
            reading: link(),
            control: link(),
            registry: Registry::default(),
            hints: Hints::default(),
            anchor: OnceLock::new(),
            life,
            endpoint,
            config,
        })
    }

    /// The first anchor of the connection.
    pub(crate) fn anchor(self: &Arc<Self>) -> Arc<Anchor> {
        let anchor = Arc::new(Anchor(Arc::clone(self)));
        // There is one first time.
        let _ = self.anchor.set(Arc::downgrade(&anchor));
        anchor
    }

    /// Another hold of the connection; `None` when nobody holds it any more.
    pub(crate) fn hold(&self) -> Option<Arc<Anchor>> {
        self.anchor.get()?.upgrade()
    }

    /// A connection that may wait this long for an answer.
    pub(crate) fn blocking_link(&self, block: Duration) -> Arc<Link> {
        Link::new(
            Arc::clone(&self.endpoint),
            Arc::clone(&self.life),
            block + ANSWER_TIMEOUT,
        )
    }

    /// # Errors
    /// `Closed` once the connection was closed.
    pub(crate) fn usable(&self) -> Result<()> {
        if self.life.is_over() {
            return Err(closed());
        }
        Ok(())
    }

    /// Ends every task and connection at once, without a word to the server.
    pub(crate) fn kill(&self) {
        self.life.end();
        for link in [&self.publishing, &self.reading, &self.control] {
            link.drop_connection();
        }
        self.registry.forget_interests();
    }
}
