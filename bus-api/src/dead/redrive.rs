//! Sending dead letters back to the subscription that gave them up.

use std::collections::HashSet;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use super::copy::{copy, id_of_a_repeated_failure, unchanged_dedup_id};
use super::filter::Filter;
use super::report::{DeadLetterCounts, DeadLetterReport};
use super::scan::Scan;
use super::sweep::{Pace, Sweep};
use crate::client::{Core, publish_all};
use crate::contract::{DeadLetter, Group};
use crate::error::{Error, Result};
use crate::telemetry::metric;

/// Copies published and entries removed at once.
const AT_ONCE: usize = 100;

/// A redrive: options first, then `.await` for the [`DeadLetterReport`]. Made by
/// [`DeadLetters::redrive`](crate::DeadLetters::redrive).
#[must_use = "nothing is redriven until it is awaited"]
pub struct Redrive {
    sweep: Sweep,
    limit: u64,
}

impl Redrive {
    pub(super) fn new(core: Arc<Core>, group: Result<Group>, filter: Filter) -> Self {
        Self {
            sweep: Sweep::new(core, group, filter),
            limit: u64::MAX,
        }
    }

    /// Only counts what would be redriven.
    pub fn dry_run(mut self) -> Self {
        self.sweep.dry_run = true;
        self
    }

    /// At most this many entries, the oldest first.
    pub fn limit(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// At most this many entries per second (0 is taken as 1), so that the repaired handler is not
    /// overwhelmed.
    pub fn rate(mut self, per_second: u32) -> Self {
        self.sweep.pace = Pace::per_second(per_second);
        self
    }

    /// Calls `progress` after every batch.
    pub fn on_progress(
        mut self,
        progress: impl Fn(DeadLetterCounts) + Send + Sync + 'static,
    ) -> Self {
        self.sweep.on_progress(progress);
        self
    }

    async fn run(self) -> Result<DeadLetterReport> {
        let Self { mut sweep, limit } = self;
        let group = sweep.group.clone()?;
        let (core, filter) = (Arc::clone(&sweep.core), sweep.filter.clone());
        let mut scan = Scan::new(&core, &group, &filter, None)?;
        let mut report = DeadLetterReport::default();
        // A copy that fails again while this runs is a new entry: it is not redriven once more.
        let mut again = HashSet::new();
        while report.matched < limit {
            let left = usize::try_from(limit - report.matched).unwrap_or(usize::MAX);
            let mut entries = scan.next(sweep.pace.batch(AT_ONCE).min(left)).await?;
            if entries.is_empty() {
                break;
            }
            entries.retain(|entry| !again.contains(&entry.id));
            report.matched += entries.len() as u64;
            if !sweep.dry_run && !entries.is_empty() {
                sweep.pace.wait(entries.len()).await;
                again.extend(entries.iter().map(id_of_a_repeated_failure));
                redrive(&core, &group, entries, unchanged_dedup_id, &mut report).await;
            }
            sweep.progressed(&report);
        }
        Ok(report)
    }
}

impl IntoFuture for Redrive {
    type Output = Result<DeadLetterReport>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Publishes a copy of every matching entry for its subscription alone, and removes the entry once the
    /// broker has confirmed the copy.
    ///
    /// # Errors
    /// What reading the entries said; entries that could not be redriven are in the report.
    ///
    /// # Cancel safety
    /// Dropped, what was redriven so far stays so. An entry whose copy was just stored may still be there;
    /// redriving it again stores no second copy where the transport has dedup.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Redrive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redrive")
            .field("group", &self.sweep.group)
            .field("filter", &self.sweep.filter)
            .field("dry_run", &self.sweep.dry_run)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Publishes copies, then removes the entries of those that the broker has.
pub(super) async fn redrive(
    core: &Arc<Core>,
    group: &Group,
    entries: Vec<DeadLetter>,
    dedup_id: fn(&DeadLetter) -> String,
    report: &mut DeadLetterReport,
) {
    let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
    let copies = entries.into_iter().map(|entry| {
        let dedup_id = core.capabilities.dedup.then(|| dedup_id(&entry).into());
        Ok(Arc::new(copy(entry, dedup_id)))
    });
    let results = publish_all(Arc::clone(core), copies.collect()).await;
    let mut stored = Vec::with_capacity(ids.len());
    for (id, result) in ids.into_iter().zip(results) {
        match result {
            Ok(_) => stored.push(id),
            Err(error) => report.failed.push((id, error)),
        }
    }
    if stored.is_empty() {
        return;
    }
    match core.bus.dead_letters().remove(group, &stored).await {
        Ok(_) => {
            let count = stored.len() as u64;
            report.done += count;
            let (transport, group) = (core.transport(), group.to_string());
            metrics::counter!(metric::REDRIVEN, "transport" => transport, "group" => group)
                .increment(count);
        }
        Err(error) => {
            let failed = stored.into_iter();
            report
                .failed
                .extend(failed.map(|id| (id, not_removed(error.clone()))));
        }
    }
}

fn not_removed(error: Error) -> Error {
    error.indeterminate().with(
        "redrive",
        "the copy is stored, the entry may still be there",
    )
}
