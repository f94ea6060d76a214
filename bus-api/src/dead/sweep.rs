//! What redriving and purging have in common: which entries, how fast, and who is told.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::filter::Filter;
use super::report::{DeadLetterCounts, DeadLetterReport};
use crate::client::Core;
use crate::contract::Group;
use crate::error::Result;

/// Goes through the matching entries of a group.
#[derive(Clone)]
pub(super) struct Sweep {
    pub(super) core: Arc<Core>,
    pub(super) group: Result<Group>,
    pub(super) filter: Filter,
    pub(super) dry_run: bool,
    pub(super) pace: Pace,
    progress: Option<Arc<dyn Fn(DeadLetterCounts) + Send + Sync>>,
}

impl Sweep {
    pub(super) fn new(core: Arc<Core>, group: Result<Group>, filter: Filter) -> Self {
        Self {
            core,
            group,
            filter,
            dry_run: false,
            pace: Pace::default(),
            progress: None,
        }
    }

    pub(super) fn on_progress(
        &mut self,
        progress: impl Fn(DeadLetterCounts) + Send + Sync + 'static,
    ) {
        self.progress = Some(Arc::new(progress));
    }

    pub(super) fn progressed(&self, report: &DeadLetterReport) {
        if let Some(progress) = &self.progress {
            progress(report.counts());
        }
    }
}

/// Spreads work evenly; the default is without limit.
#[derive(Clone, Default)]
pub(super) struct Pace {
    /// How long one entry takes.
    each: Duration,
    /// When the next one is due.
    next: Option<Instant>,
}

impl Pace {
    pub(super) fn per_second(rate: u32) -> Self {
        Self {
            each: Duration::from_secs(1) / rate.max(1),
            next: None,
        }
    }

    /// How many of `most` to do at once: a tenth of a second's worth.
    pub(super) fn batch(&self, most: usize) -> usize {
        let tenth = Duration::from_millis(100).as_nanos();
        match tenth.checked_div(self.each.as_nanos()) {
            None => most,
            Some(fit) => usize::try_from(fit).map_or(most, |fit| fit.clamp(1, most)),
        }
    }

    /// Waits until `count` more are due.
    pub(super) async fn wait(&mut self, count: usize) {
        let now = Instant::now();
        let due = self.next.unwrap_or(now).max(now);
        if due > now {
            sleep_until(due).await;
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.next = due.checked_add(self.each.saturating_mul(count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_is_spread_evenly() {
        let mut pace = Pace::per_second(50);
        assert_eq!(pace.batch(100), 5);
        let start = Instant::now();
        for _ in 0..11 {
            pace.wait(5).await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        assert_eq!(Pace::default().batch(100), 100);
        assert_eq!(Pace::per_second(1).batch(100), 1);
    }
}
