//! How many deliveries the members of a connection hold.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many deliveries the members of a connection hold; counting costs one atomic operation.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    count: AtomicUsize,
    none: Notify,
}

impl InFlight {
    pub(crate) fn enter(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn leave(&self, count: usize) {
        if count > 0 && self.count.fetch_sub(count, Ordering::AcqRel) == count {
            self.none.notify_waiters();
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until there are none. Cancel safe.
    pub(crate) async fn none(&self) {
        loop {
            let none = self.none.notified();
            tokio::pin!(none);
            // Before the count is read: whoever reaches none afterwards is heard.
            none.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            none.await;
        }
    }
}
