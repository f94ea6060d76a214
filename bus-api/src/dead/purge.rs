//! Removing dead letters.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use super::filter::Filter;
use super::report::{DeadLetterCounts, DeadLetterReport};
use super::scan::Scan;
use super::sweep::{Pace, Sweep};
use crate::client::Core;
use crate::contract::Group;
use crate::error::Result;
use crate::telemetry::metric;

/// Entries removed at once.
const AT_ONCE: usize = 500;

/// A purge: options first, then `.await` for the [`DeadLetterReport`]. Made by
/// [`DeadLetters::purge`](crate::DeadLetters::purge).
#[must_use = "nothing is purged until it is awaited"]
pub struct Purge(Sweep);

impl Purge {
    pub(super) fn new(core: Arc<Core>, group: Result<Group>, filter: Filter) -> Self {
        Self(Sweep::new(core, group, filter))
    }

    /// Only counts what would be purged.
    pub fn dry_run(mut self) -> Self {
        self.0.dry_run = true;
        self
    }

    /// At most this many entries per second (0 is taken as 1).
    pub fn rate(mut self, per_second: u32) -> Self {
        self.0.pace = Pace::per_second(per_second);
        self
    }

    /// Calls `progress` after every batch.
    pub fn on_progress(
        mut self,
        progress: impl Fn(DeadLetterCounts) + Send + Sync + 'static,
    ) -> Self {
        self.0.on_progress(progress);
        self
    }

    async fn run(self) -> Result<DeadLetterReport> {
        let Self(mut sweep) = self;
        let group = sweep.group.clone()?;
        let (core, filter) = (Arc::clone(&sweep.core), sweep.filter.clone());
        let mut scan = Scan::new(&core, &group, &filter, None)?;
        let mut report = DeadLetterReport::default();
        loop {
            let entries = scan.next(sweep.pace.batch(AT_ONCE)).await?;
            if entries.is_empty() {
                return Ok(report);
            }
            report.matched += entries.len() as u64;
            if !sweep.dry_run {
                sweep.pace.wait(entries.len()).await;
                let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
                let removed = core.bus.dead_letters().remove(&group, &ids).await?;
                report.done += removed;
                let (transport, group) = (core.transport(), group.to_string());
                metrics::counter!(metric::PURGED, "transport" => transport, "group" => group)
                    .increment(removed);
            }
            sweep.progressed(&report);
        }
    }
}

impl IntoFuture for Purge {
    type Output = Result<DeadLetterReport>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Removes every matching entry for good.
    ///
    /// # Errors
    /// What the store said; what was removed until then stays so.
    ///
    /// # Cancel safety
    /// Dropped, what was removed so far stays so.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Purge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purge")
            .field("group", &self.0.group)
            .field("filter", &self.0.filter)
            .field("dry_run", &self.0.dry_run)
            .finish_non_exhaustive()
    }
}
