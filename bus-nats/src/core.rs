//! What all parts of a connection share.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bus_api::Result;
use bus_api::adapter::Life;

use crate::changes::Changes;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::closed;
use crate::keys::Keys;
use crate::link::Link;
use crate::socket::Socket;
use crate::stream::Streams;

/// What all parts of a connection share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) keys: Keys,
    pub(crate) life: Arc<Life>,
    /// Publishing, settling, administration.
    pub(crate) link: Arc<Link>,
    /// Deliveries: a message that the client library cannot parse breaks this connection alone.
    pub(crate) feed: Socket,
    pub(crate) streams: Streams,
    pub(crate) clock: Clock,
    pub(crate) changes: Changes,
    /// The largest payload; fixed when the connection was made.
    pub(crate) max_payload: usize,
    /// Whose turn it is to publish, where each batch has to make room first.
    pub(crate) turn: tokio::sync::Mutex<()>,
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
    pub(crate) fn new(
        config: Config,
        life: Arc<Life>,
        link: Arc<Link>,
        feed: Socket,
        max_payload: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            keys: Keys::new(config.settings.namespace.clone()),
            streams: Streams::default(),
            clock: Clock::default(),
            changes: Changes::default(),
            turn: tokio::sync::Mutex::default(),
            anchor: OnceLock::new(),
            config,
            life,
            link,
            feed,
            max_payload,
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

    /// # Errors
    /// `Closed` once the connection was closed.
    pub(crate) fn usable(&self) -> Result<()> {
        if self.life.is_over() {
            return Err(closed());
        }
        Ok(())
    }

    /// How long a question may wait for the server to be reached and to answer. Whoever has more time asks
    /// again: an answer may have been lost.
    pub(crate) fn patience(&self) -> Duration {
        self.config
            .settings
            .connect_timeout
            .clamp(Duration::from_millis(100), Duration::from_secs(4))
    }

    /// Ends every task and connection at once, without a word to the server.
    pub(crate) fn kill(&self) {
        self.life.end();
        self.link.close();
        self.feed.close();
    }
}
