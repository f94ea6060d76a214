//! Whether a connection lives.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::contract::{Notice, Notices};

/// Whether a connection lives, whether its broker is in reach, and what ends with it.
#[derive(Debug, Default)]
pub struct Life {
    over: CancellationToken,
    away: AtomicBool,
    notices: Notices,
}

impl Life {
    /// Where the connection reports what happens to it.
    #[must_use]
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Waits until it is over.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn ended(&self) {
        self.over.cancelled().await;
    }

    /// The broker cannot be reached; reported once, until it has been reached again.
    pub fn lost(&self) {
        if !self.is_over() && !self.away.swap(true, Ordering::AcqRel) {
            self.notices.report(Notice::Disconnected);
        }
    }

    /// The broker has been reached.
    pub fn reached(&self) {
        if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::AcqRel) {
            self.notices.report(Notice::Reconnected);
        }
    }

    /// Starts a task that ends with the connection.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // No list of tasks: thousands of members start and end them all the time.
        tokio::spawn(self.over.clone().run_until_cancelled_owned(task));
    }

    /// Ends it and every task at once, without a word to the broker.
    pub fn end(&self) {
        self.over.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn being_away_is_told_once_and_the_end_ends_every_task() {
        let life = Life::default();
        let mut told = life.notices().listen();
        life.reached();
        for _ in 0..2 {
            life.lost();
        }
        life.reached();
        assert!(matches!(told.try_recv(), Ok(Notice::Disconnected)));
        assert!(matches!(told.try_recv(), Ok(Notice::Reconnected)));
        let (held, mut ended) = tokio::sync::mpsc::channel::<()>(1);
        life.spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        life.end();
        assert!(ended.recv().await.is_none());
        life.ended().await;
        life.lost();
        assert!(told.try_recv().is_err(), "what is over is not away");
    }
}
