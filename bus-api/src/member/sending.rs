//! Calls of the settling half, with what is needed to make sense of their answers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::outbox::{Batch, Sendable};
use super::table::Slot;
use crate::client::{Backoff, Participant};
use crate::contract::{AttemptRecord, Paused, Receipt, Settlement, Settler};
use crate::error::Result;

/// Before something that failed is sent again.
pub(super) const AGAIN: Backoff = Backoff {
    first: Duration::from_millis(50),
    most: Duration::from_secs(5),
};

/// What the adapter has answered.
pub(super) enum Answer {
    Settled {
        slots: Vec<Slot>,
        /// What another try would need: all but acks, with their places in the batch.
        kept: Vec<(usize, Settlement)>,
        tries: u32,
        results: Vec<Result<()>>,
    },
    Marked {
        batch: Batch<AttemptRecord>,
        results: Vec<Result<()>>,
    },
    Extended {
        receipts: Vec<Receipt>,
        results: Vec<Result<()>>,
    },
    /// The subscription was paused (`true`) or goes on.
    Pausing(Paused, bool),
    /// Not the adapter's: the bus is being closed.
    Draining(Participant),
}

/// Sends a batch.
pub(super) fn send(settler: Arc<dyn Settler>, batch: Sendable) -> BoxFuture<'static, Answer> {
    match batch {
        Sendable::Settle(batch) => Box::pin(async move {
            let Batch {
                slots,
                orders,
                tries,
            } = batch;
            let kept = orders
                .iter()
                .enumerate()
                .filter(|(_, (_, settlement))| !matches!(settlement, Settlement::Ack))
                .map(|(index, (_, settlement))| (index, settlement.clone()))
                .collect();
            let results = settler.settle(orders).await;
            Answer::Settled {
                slots,
                kept,
                tries,
                results,
            }
        }),
        Sendable::Mark(batch) => Box::pin(async move {
            let results = settler.mark(batch.orders.clone()).await;
            Answer::Marked { batch, results }
        }),
    }
}

/// Waits for an operator to pause the subscription, or to let it go on.
pub(super) async fn pausing(mut paused: Paused) -> Answer {
    let now = paused.changed().await;
    Answer::Pausing(paused, now)
}
