//! One live participant of a subscription: what the core adds to an adapter's `Inbound`.

mod confirmation;
mod held;
mod options;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use confirmation::Confirmation;
pub(crate) use held::Held;
pub(crate) use options::{Decision, DrainReport, MemberOptions, OnExpired, Policy};

use crate::client::Core;
use crate::error::{Error, ErrorKind, Result};

/// One live participant of a subscription.
pub(crate) struct Member {
    handle: MemberHandle,
}

/// Pauses, resumes and watches a member while it is borrowed elsewhere; cheap to clone.
#[derive(Clone)]
pub(crate) struct MemberHandle {}

impl Member {
    /// Joins: when this returns, every message published afterwards is delivered.
    pub(crate) async fn join(_core: &Arc<Core>, _options: MemberOptions) -> Result<Self> {
        Err(Error::new(
            ErrorKind::Internal,
            "members cannot be joined yet",
        ))
    }

    /// Waits for the next delivery: judged, its lane free, its started-mark written. `None` once the
    /// subscription has ended; an error ends it and comes once.
    ///
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Held>> {
        None
    }

    /// Waits for a first delivery, then for up to `max` of them or until `linger` has passed. Without
    /// order across members, one batch may hold several deliveries of a key, in order.
    ///
    /// Cancel safe: what was collected is returned by the next call.
    pub(crate) async fn next_batch(
        &mut self,
        _max: usize,
        _linger: Duration,
    ) -> Option<Result<Vec<Held>>> {
        None
    }

    /// Controls it from elsewhere.
    pub(crate) fn handle(&self) -> MemberHandle {
        self.handle.clone()
    }

    /// Stops fetching for good and hands back what was never handed out; `next` returns `None` from now
    /// on. Returns how many were handed back. What is held stays held, and its lease is kept.
    pub(crate) fn stop(&mut self) -> usize {
        0
    }

    /// Stops, waits until everything held is settled and confirmed, at most until `deadline`, and
    /// leaves the subscription.
    pub(crate) async fn drain(self, _deadline: Instant) -> DrainReport {
        DrainReport::default()
    }
}

impl MemberHandle {
    /// Stops fetching; what was fetched is still handed out.
    pub(crate) fn pause(&self) {}

    /// Fetches again.
    pub(crate) fn resume(&self) {}

    /// Deliveries that were fetched and whose settling was not requested yet.
    pub(crate) fn in_flight(&self) -> usize {
        0
    }

    /// Whether nothing is in flight and every settlement is confirmed.
    pub(crate) fn is_idle(&self) -> bool {
        true
    }
}
