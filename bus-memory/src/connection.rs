//! A connection to a broker, which can be cut, killed and closed on its own.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use bus_api::{Error, Notice, Notices, Result};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::{closed, timeout, unavailable};
use crate::space::Space;

const LIVE: u8 = 0;
const CUT: u8 = 1;
const CLOSED: u8 = 2;

/// One connection to a namespace of a broker.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) space: Arc<Space>,
    pub(crate) notices: Notices,
    status: AtomicU8,
    /// The status or the broker's has changed.
    changed: Notify,
    /// Replies to addresses that no requester made.
    pub(crate) refused_replies: AtomicU64,
}

impl Connection {
    pub(crate) fn open(space: Arc<Space>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let connection = Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            notices: Notices::new(),
            status: AtomicU8::new(LIVE),
            changed: Notify::new(),
            refused_replies: AtomicU64::new(0),
            space,
        });
        let mut all = connection
            .space
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(&connection));
        drop(all);
        connection
    }

    /// Whether a call can do its work now.
    pub(crate) fn usable(&self) -> Result<()> {
        match self.status.load(Ordering::Acquire) {
            LIVE if !self.space.is_down() => Ok(()),
            LIVE | CUT => Err(unavailable()),
            _ => Err(closed()),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.status.load(Ordering::Acquire) == CLOSED
    }

    /// Waits for as long as the broker cannot be reached.
    pub(crate) async fn reachable(&self) -> Result<()> {
        if self.usable().is_ok() {
            return Ok(());
        }
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.usable() {
                Err(error) if !is_closed_error(&error) => changed.await,
                done => return done,
            }
        }
    }

    /// As [`reachable`](Self::reachable), until `deadline`.
    pub(crate) async fn reachable_until(&self, deadline: Instant) -> Result<()> {
        match tokio::time::timeout_at(deadline, self.reachable()).await {
            Ok(done) => done,
            Err(_) => Err(timeout("the broker could not be reached in time")),
        }
    }

    /// Everyone who waits looks again.
    pub(crate) fn announce(&self, notice: Option<Notice>) {
        if let Some(notice) = notice.filter(|_| !self.is_closed()) {
            self.notices.report(notice);
        }
        self.changed.notify_waiters();
    }

    fn turn(&self, from: u8, to: u8) -> bool {
        let done = self
            .status
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if done {
            self.space.wake_connection(self.id);
        }
        done
    }

    pub(crate) fn cut(&self) {
        if self.turn(LIVE, CUT) {
            self.announce(Some(Notice::Disconnected));
        }
    }

    pub(crate) fn heal(&self) {
        if self.turn(CUT, LIVE) {
            self.announce(Some(Notice::Reconnected));
        }
    }

    /// Ends it; says whether it was open.
    pub(crate) fn end(&self) -> bool {
        let was_open = self.status.swap(CLOSED, Ordering::AcqRel) != CLOSED;
        self.space.wake_connection(self.id);
        self.announce(None);
        was_open
    }
}

fn is_closed_error(error: &Error) -> bool {
    error.kind() == bus_api::ErrorKind::Closed
}
