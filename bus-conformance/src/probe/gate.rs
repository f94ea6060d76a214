//! Lets handlers wait for the case.

use tokio::sync::watch;

/// What waits at it goes on once the case has opened it. Clones are the same gate.
#[derive(Clone, Debug)]
pub(crate) struct Gate(watch::Sender<bool>);

impl Gate {
    /// A closed one.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Opens it for good.
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub(crate) async fn passed(&self) {
        // The sender is owned by self, so that the channel cannot end.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}
