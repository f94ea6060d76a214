//! A member, seen from elsewhere.

use std::sync::Arc;

use super::shared::Shared;

/// Pauses, resumes and watches a member while it is borrowed elsewhere; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct MemberHandle(Arc<Shared>);

impl MemberHandle {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }

    /// Stops fetching; what was fetched is still handed out.
    pub(crate) fn pause(&self) {
        self.0.pause();
    }

    /// Fetches again.
    pub(crate) fn resume(&self) {
        self.0.lock().set_paused(false);
    }

    /// Deliveries that were fetched and whose settling was not requested yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.0.lock().outstanding()
    }

    /// Whether nothing is in flight and every settlement is confirmed.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.lock().is_idle()
    }
}
