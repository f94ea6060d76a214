use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::Leave;
use crate::contract::{AttemptRecord, Receipt, Settlement, Settler};
use crate::error::Result;

/// The settler of a broadcast subscriber. Nothing of it is kept at the broker, so that there is nothing to settle
/// there; failed messages are tried again in the member.
pub struct BroadcastSettler(Arc<dyn Leave>);

impl BroadcastSettler {
    /// `subscriber` ends when it leaves; it is kept alive as long as this.
    pub fn new(subscriber: Arc<dyn Leave>) -> Self {
        Self(subscriber)
    }
}

impl fmt::Debug for BroadcastSettler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastSettler").finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Settler for BroadcastSettler {
    async fn settle(&self, batch: Vec<(Receipt, Settlement)>) -> Vec<Result<()>> {
        vec![Ok(()); batch.len()]
    }

    fn ack_at_once(&self, _receipt: Receipt) -> bool {
        // Nobody asks: there is nothing to settle.
        false
    }

    async fn mark(&self, batch: Vec<(Receipt, AttemptRecord)>) -> Vec<Result<()>> {
        vec![Ok(()); batch.len()]
    }

    async fn extend(&self, batch: &[Receipt]) -> Vec<Result<()>> {
        vec![Ok(()); batch.len()]
    }

    async fn leave(&self, deadline: Instant) -> Result<()> {
        self.0.leave(deadline).await
    }
}
