//! One of the two that are compared.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;

use crate::work::Work;

/// How much work.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Messages.
    pub(crate) messages: usize,
    /// The payload of each.
    pub(crate) payload: Bytes,
}

/// What one side did in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// How long it took; setting up is not in it.
    pub(crate) took: Duration,
    /// Messages that were received, of those that should have been.
    pub(crate) received: u64,
    /// Messages that should have been received.
    pub(crate) expected: u64,
}

impl Sample {
    /// A sample in which nothing is received, such as one of publishing.
    pub(crate) fn sent(took: Duration) -> Self {
        Self {
            took,
            received: 0,
            expected: 0,
        }
    }
}

/// The bus, or a client used without it.
#[async_trait]
pub(crate) trait Side: Send + Sync {
    /// How it is called in the table.
    fn name(&self) -> &str;

    /// What it has guaranteed when its call returns.
    fn guarantees(&self) -> &str;

    /// Does the work once; `None`: this side has no such thing.
    async fn run(&self, work: Work, load: &Load) -> Result<Option<Sample>>;
}
