//! Whether a connection lives.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::contract::{Notice, Notices};

/// Whether a connection lives, whether its broker is in reach, and the tasks that end with it.
#[derive(Debug)]
pub struct Life {
    over: watch::Sender<bool>,
    away: AtomicBool,
    notices: Notices,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            over: watch::Sender::new(false),
            away: AtomicBool::new(false),
            notices: Notices::new(),
            tasks: Mutex::default(),
        }
    }
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
        *self.over.borrow()
    }

    /// Waits until it is over.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn ended(&self) {
        // The sender is `self`, so that waiting cannot fail.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
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
        let handle = tokio::spawn(task).abort_handle();
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(handle);
    }

    /// Ends it and every task at once, without a word to the broker.
    pub fn end(&self) {
        self.over.send_replace(true);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for task in tasks.drain(..) {
            task.abort();
        }
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
