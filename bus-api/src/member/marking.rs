//! Storing the started-marks of what is about to be handed out.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;

use super::entry::Entry;
use super::sending::AGAIN;
use super::shared::Shared;
use crate::contract::{AttemptRecord, Receipt, Settler};
use crate::error::Result;

/// A running call of `mark`; kept by the member, so that nothing is lost when its caller gives up waiting.
pub(super) struct Marking(BoxFuture<'static, Vec<Result<()>>>);

impl Marking {
    /// Marks those of `entries` that need it; `None` when none does.
    pub(super) fn start(shared: &Arc<Shared>, entries: &[Entry]) -> Option<Self> {
        let marks: Vec<_> = entries
            .iter()
            .filter(|entry| entry.mark && !entry.marked)
            .map(|entry| (entry.receipt, entry.started()))
            .collect();
        (!marks.is_empty()).then(|| Self(Box::pin(mark(Arc::clone(&shared.settler), marks))))
    }

    /// One result for each entry that needed a mark, in order.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Vec<Result<()>>> {
        self.0.as_mut().poll(cx)
    }
}

/// Marks, and tries again whatever may succeed later.
async fn mark(settler: Arc<dyn Settler>, marks: Vec<(Receipt, AttemptRecord)>) -> Vec<Result<()>> {
    for tries in 1.. {
        let results = settler.mark(marks.clone()).await;
        // Writing the same mark twice changes nothing.
        let retryable = |result: &Result<()>| matches!(result, Err(error) if error.is_retryable());
        if !results.iter().any(retryable) {
            return results;
        }
        tokio::time::sleep(AGAIN.delay(tries)).await;
    }
    Vec::new()
}
