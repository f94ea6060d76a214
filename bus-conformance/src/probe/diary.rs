//! What handlers were called with.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bus_api::Message;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::outcome::{Violation, ensure};
use crate::probe::time::PATIENCE;

/// What the handlers of a case were called with, in the order of the calls. Clones share the pages.
#[derive(Clone, Debug)]
pub(crate) struct Diary(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pages: Mutex<Pages>,
    changed: watch::Sender<()>,
}

/// What a diary holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pages {
    /// Every call of a handler.
    pub(crate) runs: Vec<Run>,
    /// How often a handler returned without an error, by number.
    pub(crate) done: BTreeMap<u64, u32>,
    /// The first message that did not arrive as it was published.
    damage: Option<String>,
}

/// One call of a handler.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The number of the note.
    pub(crate) number: u64,
    /// Which worker.
    pub(crate) worker: &'static str,
    /// The attempt that it was.
    pub(crate) attempt: u32,
    /// The message as it came.
    pub(crate) message: Arc<Message>,
    /// When it began.
    pub(crate) at: Instant,
}

impl Run {
    /// A call of `worker` that begins now.
    pub(crate) fn new(worker: &'static str, number: u64, context: &bus_api::Context) -> Self {
        Self {
            number,
            worker,
            attempt: context.attempt(),
            message: context.message().clone(),
            at: Instant::now(),
        }
    }
}

impl Diary {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            pages: Mutex::default(),
            changed: watch::Sender::new(()),
        }))
    }

    /// Enters a call.
    pub(crate) fn begin(&self, run: Run) {
        self.enter(|pages| pages.runs.push(run));
    }

    /// Enters that a handler returned without an error.
    pub(crate) fn done(&self, number: u64) {
        self.enter(|pages| *pages.done.entry(number).or_default() += 1);
    }

    /// Enters that a message did not arrive as it was published.
    pub(crate) fn damaged(&self, what: impl Display) {
        self.enter(|pages| {
            pages.damage.get_or_insert_with(|| what.to_string());
        });
    }

    fn enter(&self, change: impl FnOnce(&mut Pages)) {
        change(&mut self.0.pages.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.send_replace(());
    }

    /// Looks into the diary.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Pages) -> T) -> T {
        look(&self.0.pages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The calls so far.
    pub(crate) fn runs(&self) -> Vec<Run> {
        self.read(|pages| pages.runs.clone())
    }

    /// The calls so far with this number.
    pub(crate) fn runs_of(&self, number: u64) -> Vec<Run> {
        self.read(|pages| pages.of(number).cloned().collect())
    }

    /// The attempts of the calls so far with this number.
    pub(crate) fn attempts_of(&self, number: u64) -> Vec<u32> {
        self.read(|pages| pages.of(number).map(|run| run.attempt).collect())
    }

    /// Waits until `condition` holds, at most [`PATIENCE`] after the last entry.
    #[track_caller]
    pub(crate) fn until(
        &self,
        what: impl Display,
        condition: impl Fn(&Pages) -> bool,
    ) -> impl Future<Output = Result<(), Violation>> {
        let late = Violation::new(format_args!("{what}: never happened"));
        let diary = self.clone();
        let mut changed = self.0.changed.subscribe();
        async move {
            loop {
                changed.mark_unchanged();
                if let Some(damage) = diary.read(|pages| pages.damage.clone()) {
                    return Err(Violation::new(damage));
                }
                if diary.read(&condition) {
                    return Ok(());
                }
                let waited = timeout(PATIENCE, changed.changed()).await;
                if !matches!(waited, Ok(Ok(()))) {
                    return Err(late.because(diary.read(Pages::summary)));
                }
            }
        }
    }

    /// Waits until a handler has been called `count` times.
    #[track_caller]
    pub(crate) fn until_runs(&self, count: usize) -> impl Future<Output = Result<(), Violation>> {
        self.until("as many calls of the handler as expected", move |pages| {
            pages.runs.len() >= count
        })
    }

    /// Waits until each of these numbers was handled without an error.
    #[track_caller]
    pub(crate) fn until_done(
        &self,
        numbers: impl IntoIterator<Item = u64>,
    ) -> impl Future<Output = Result<(), Violation>> {
        let numbers: Vec<u64> = numbers.into_iter().collect();
        self.until("everything is handled", move |pages| {
            numbers.iter().all(|number| pages.done.contains_key(number))
        })
    }

    /// Each of these numbers was handled once and nothing else was: no loss, no duplicate, no stranger.
    #[track_caller]
    pub(crate) fn exactly(&self, numbers: impl IntoIterator<Item = u64>) -> Result<(), Violation> {
        let expected: BTreeMap<u64, u32> = numbers.into_iter().map(|number| (number, 1)).collect();
        let pages = self.read(Clone::clone);
        ensure!(
            pages.done == expected,
            "not exactly once: {}; missing {:?}, too often or unexpected {:?}",
            pages.summary(),
            expected
                .keys()
                .filter(|number| !pages.done.contains_key(number))
                .take(12)
                .collect::<Vec<_>>(),
            pages
                .done
                .iter()
                .filter(|(number, count)| expected.get(number) != Some(count))
                .take(12)
                .collect::<Vec<_>>(),
        );
        Ok(())
    }
}

impl Pages {
    /// The calls with this number.
    pub(crate) fn of(&self, number: u64) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.number == number)
    }

    /// The counts, in a line.
    pub(crate) fn summary(&self) -> String {
        let last: Vec<_> = self
            .runs
            .iter()
            .rev()
            .take(6)
            .map(|run| (run.worker, run.number, run.attempt))
            .collect();
        format!(
            "{} calls, {} numbers handled; the last calls (worker, number, attempt), newest first: {last:?}",
            self.runs.len(),
            self.done.len(),
        )
    }
}
