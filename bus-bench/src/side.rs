//! One of those that are compared.

use std::time::{Duration, Instant};

use anyhow::Result;
use async_trait::async_trait;

use crate::load::Load;
use crate::tally::Tally;
use crate::work::Work;

/// What one side did in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// How long it took; setting up is not in it.
    pub(crate) took: Duration,
    /// The median of single calls, where each was awaited before the next.
    pub(crate) median: Option<Duration>,
    /// Messages that should have been received, and were not.
    pub(crate) lost: u64,
    /// Messages that were received more than once.
    pub(crate) duplicated: u64,
}

impl Sample {
    /// A sample in which nothing is received, such as one of publishing.
    pub(crate) fn sent(took: Duration) -> Self {
        Self {
            took,
            median: None,
            lost: 0,
            duplicated: 0,
        }
    }

    /// A sample in which messages were received.
    pub(crate) fn received<'a>(
        took: Duration,
        tallies: impl IntoIterator<Item = &'a Tally>,
    ) -> Self {
        let mut sample = Self::sent(took);
        for tally in tallies {
            sample.lost += tally.lost();
            sample.duplicated += tally.duplicated();
        }
        sample
    }

    /// A sample in which `done` things were to be done `wanted` times.
    pub(crate) fn done(took: Duration, done: u64, wanted: u64) -> Self {
        Self {
            lost: wanted.saturating_sub(done),
            duplicated: done.saturating_sub(wanted),
            ..Self::sent(took)
        }
    }
}

/// Times single calls.
#[derive(Debug)]
pub(crate) struct Calls {
    begun: Instant,
    last: Instant,
    each: Vec<Duration>,
}

impl Calls {
    pub(crate) fn begin(count: usize) -> Self {
        let begun = Instant::now();
        Self {
            begun,
            last: begun,
            each: Vec::with_capacity(count),
        }
    }

    /// A call has ended, and the next begins.
    pub(crate) fn tick(&mut self) {
        let now = Instant::now();
        self.each.push(now - self.last);
        self.last = now;
    }

    pub(crate) fn sample(mut self) -> Sample {
        self.each.sort_unstable();
        Sample {
            median: self.each.get(self.each.len() / 2).copied(),
            ..Sample::sent(self.last - self.begun)
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

    /// What the server says about itself, when there is one.
    async fn server(&self) -> Option<String> {
        None
    }

    /// Removes what a round of this side or of the bus has left on the server.
    async fn clean(&self, _namespace: &str, _root: &str) -> Result<()> {
        Ok(())
    }
}
