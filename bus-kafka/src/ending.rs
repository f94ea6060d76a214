//! How the thread of a participant ends.

use bus_api::adapter::Life;
use bus_api::{ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{closed, error};

/// Whether a thread is still wanted, and whether it has ended.
#[derive(Debug)]
pub(crate) struct Ending {
    over: watch::Sender<bool>,
    done: watch::Sender<bool>,
}

impl Default for Ending {
    fn default() -> Self {
        Self {
            over: watch::Sender::new(false),
            done: watch::Sender::new(false),
        }
    }
}

impl Ending {
    pub(crate) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// The thread is not wanted any more.
    pub(crate) fn end(&self) {
        self.over.send_replace(true);
    }

    /// The thread has ended.
    pub(crate) fn finished(&self) {
        self.done.send_replace(true);
    }

    /// Waits until the thread has ended.
    ///
    /// # Errors
    /// `Timeout` at the deadline; `Closed` when the connection ends first.
    pub(crate) async fn wait(&self, life: &Life, deadline: Instant) -> Result<()> {
        let mut done = self.done.subscribe();
        let ended = done.wait_for(|done| *done);
        tokio::select! {
            _ = ended => Ok(()),
            () = life.ended() => Err(closed()),
            () = tokio::time::sleep_until(deadline) => Err(error(
                ErrorKind::Timeout,
                "the participant had not ended at the deadline",
            )),
        }
    }
}
