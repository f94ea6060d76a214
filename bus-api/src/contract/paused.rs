//! Whether a subscription is paused.

use std::future::pending;

use tokio::sync::watch;

/// Whether a durable subscription is paused, as an adapter knows it from its bookkeeping (S9).
///
/// It lies beside the flow of deliveries: a member whose handlers are all busy receives nothing, and has to
/// learn of it all the same. While it is paused the core hands nothing out, asks the adapter for news only,
/// and keeps the leases of what it has; the adapter needs to do no more than to tell.
#[derive(Clone, Debug)]
pub struct Paused(watch::Receiver<bool>);

impl Paused {
    /// Follows what an adapter learns, from what `known` holds now.
    #[must_use]
    pub fn follow(known: &watch::Sender<bool>) -> Self {
        Self(known.subscribe())
    }

    /// Of what nobody can pause: a broadcast.
    #[must_use]
    pub fn never() -> Self {
        Self(watch::channel(false).1)
    }

    /// Whether it is paused now.
    #[must_use]
    pub fn now(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the adapter to learn of a change and says what it is then; for ever when the adapter's part
    /// of the subscription has ended.
    ///
    /// # Cancel safety
    /// Dropping the future misses nothing.
    pub async fn changed(&mut self) -> bool {
        if self.0.changed().await.is_err() {
            return pending().await;
        }
        *self.0.borrow_and_update()
    }
}
