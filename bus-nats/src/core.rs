//! What all parts of a connection share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bus_api::{Notice, Notices, Result};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::Config;
use crate::error::closed;
use crate::keys::Keys;
use crate::link::Link;
use crate::socket::Socket;
use crate::stream::Streams;

/// Whether the connection lives, and whether the server is in reach.
#[derive(Debug)]
pub(crate) struct Life {
    over: watch::Sender<bool>,
    away: AtomicBool,
    pub(crate) notices: Notices,
}

impl Life {
    pub(crate) fn new() -> Self {
        Self {
            over: watch::Sender::new(false),
            away: AtomicBool::new(false),
            notices: Notices::new(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Ends it; false when it was over already.
    pub(crate) fn end(&self) -> bool {
        !self.over.send_replace(true)
    }

    /// Waits until it is over.
    pub(crate) async fn ended(&self) {
        // The sender is `self`, so that waiting cannot fail.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    /// The server cannot be reached.
    pub(crate) fn lost(&self) {
        if !self.is_over() && !self.away.swap(true, Ordering::AcqRel) {
            self.notices.report(Notice::Disconnected);
        }
    }

    /// The server has been reached.
    pub(crate) fn reached(&self) {
        if self.away.swap(false, Ordering::AcqRel) {
            self.notices.report(Notice::Reconnected);
        }
    }
}

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
    /// The largest payload; fixed when the connection was made.
    pub(crate) max_payload: usize,
    /// Whose turn it is to publish, where each batch has to make room first.
    pub(crate) turn: tokio::sync::Mutex<()>,
    tasks: Mutex<Vec<AbortHandle>>,
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
            turn: tokio::sync::Mutex::default(),
            tasks: Mutex::default(),
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

    /// How long a question may wait for the server to be reached and to answer.
    pub(crate) fn patience(&self) -> Duration {
        self.config
            .settings
            .connect_timeout
            .max(Duration::from_millis(100))
    }

    /// Starts a task that ends with the connection.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = tokio::spawn(task).abort_handle();
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(handle);
    }

    /// Ends every task and connection at once, without a word to the server.
    pub(crate) fn kill(&self) {
        self.life.end();
        for task in self
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            task.abort();
        }
        self.link.close();
        self.feed.close();
    }
}

/// Waits between tries at a server that is away: 20 ms, doubled up to a second, with jitter.
#[derive(Debug, Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    pub(crate) fn reset(&mut self) {
        self.0 = 0;
    }

    pub(crate) fn next(&mut self) -> Duration {
        let base = 20_u64 << self.0.min(6);
        self.0 = self.0.saturating_add(1);
        Duration::from_millis((base.min(1_000) * fastrand::u64(50..=100)) / 100)
    }

    /// Waits, at most until `deadline` or the end of the connection.
    pub(crate) async fn wait(&mut self, life: &Life, deadline: Option<Instant>) {
        let mut until = Instant::now() + self.next();
        if let Some(deadline) = deadline {
            until = until.min(deadline);
        }
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = life.ended() => {}
        }
    }
}
