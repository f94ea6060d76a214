//! The broker's answer to a settlement.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::shared::Shared;
use super::table::Slot;
use crate::error::Result;

/// Resolves when the broker has confirmed a settlement. Settling goes on when this is dropped.
///
/// A failure that is tried again inside the member resolves at once.
///
/// # Errors
/// `Fenced` when the delivery was no longer this member's; `Closed` when the subscription was left before
/// the broker confirmed. A broker that is away is tried again.
#[must_use = "await it to know that the broker has confirmed, or drop it on purpose"]
pub(crate) struct Confirmation(Answer);

enum Answer {
    Known(Result<()>),
    Awaited(Arc<Shared>, Slot),
    Taken,
}

impl Confirmation {
    pub(super) fn known(result: Result<()>) -> Self {
        Self(Answer::Known(result))
    }

    pub(super) fn awaited(shared: Arc<Shared>, slot: Slot) -> Self {
        Self(Answer::Awaited(shared, slot))
    }
}

impl Future for Confirmation {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match &mut self.0 {
            Answer::Awaited(shared, slot) => {
                let answer = shared.lock().table.poll_settled(*slot, cx.waker());
                std::task::ready!(answer)
            }
            Answer::Known(result) => std::mem::replace(result, Ok(())),
            Answer::Taken => Ok(()),
        };
        self.0 = Answer::Taken;
        Poll::Ready(result)
    }
}

impl Drop for Confirmation {
    fn drop(&mut self) {
        if let Answer::Awaited(shared, slot) = &self.0 {
            shared.lock().table.unawait(*slot);
        }
    }
}

impl fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confirmation").finish_non_exhaustive()
    }
}
