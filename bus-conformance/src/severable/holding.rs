//! What a member behind a link holds, by its own clock.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus_api::adapter::{Certainty, Hold, certain, until};
use bus_api::{Inflow, Receipt};
use tokio::time::Instant;

/// What was received and not settled yet, and until when it is this member's for certain.
#[derive(Debug)]
pub(super) struct Holding {
    lease: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: HashSet<Receipt>,
    certainty: Certainty,
}

impl Holding {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            lease,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These were received.
    pub(super) fn received(&self, receipts: impl Iterator<Item = Receipt>) {
        let mut state = self.lock();
        if state.held.is_empty() {
            state
                .certainty
                .renewed(Instant::now() + certain(self.lease));
        }
        state.held.extend(receipts);
    }

    /// All leases were renewed by a call that was made then.
    pub(super) fn renewed(&self, asked_at: Instant) {
        self.lock()
            .certainty
            .renewed(asked_at + certain(self.lease));
    }

    /// This one is settled.
    pub(super) fn settled(&self, receipt: Receipt) {
        self.lock().held.remove(&receipt);
    }

    /// Waits for the end of the leases, once: what is held then may be another member's.
    pub(super) async fn ended(&self) -> Inflow {
        loop {
            let ends = self.lock().certainty.ends();
            until(ends).await;
            let (mut state, by) = (self.lock(), Instant::now());
            if state.certainty.look(by) == Hold::Ends && !state.held.is_empty() {
                let receipts = state.held.iter().copied().collect();
                return Inflow::Reclaim { receipts, by };
            }
        }
    }
}
