//! Runs cases.

use std::cmp::Reverse;
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use bus_api::Namespace;
use futures_util::stream::{self, StreamExt};
use libtest_mimic::{Arguments, Failed, Trial};
use rand::Rng;

use crate::case::{Case, all};
use crate::context::Context;
use crate::factory::{Control, Factory};
use crate::outcome::Outcome;
use crate::report::{Report, Row};
use crate::spares::Spares;

/// Cases share a broker; one that takes it away runs alone.
static BROKER: RwLock<()> = RwLock::new(());

/// How the suite is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Only cases whose name contains this text.
    pub filter: Option<String>,
    /// Cases at a time.
    pub jobs: usize,
    /// The seed of every case; `None` draws one for each.
    pub seed: Option<u64>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            filter: None,
            jobs: 8,
            seed: None,
        }
    }
}

/// Runs the suite and returns what it found.
///
/// # Cancel safety
/// Dropping the future stops waiting; cases that had begun run to their end on their own threads.
pub async fn run(factory: Arc<dyn Factory>, options: RunOptions) -> Report {
    let mut cases: Vec<(usize, Case)> = all()
        .into_iter()
        .filter(|case| {
            options
                .filter
                .as_ref()
                .is_none_or(|text| case.name().contains(text))
        })
        .enumerate()
        .collect();
    cases.sort_by_key(|(_, case)| is_alone(case));
    let mut rows: Vec<(usize, Row)> = stream::iter(cases)
        .map(|(index, case)| {
            let (factory, seed) = (factory.clone(), options.seed);
            async move {
                let name = (case.clause(), case.name());
                let row = tokio::task::spawn_blocking(move || execute(&case, &factory, seed))
                    .await
                    .unwrap_or_else(|error| Row {
                        clause: name.0,
                        case: name.1,
                        outcome: Outcome::Failed(format!("the case panicked: {error}")),
                        took: Duration::ZERO,
                        seed: seed.unwrap_or_default(),
                    });
                (index, row)
            }
        })
        .buffer_unordered(options.jobs.max(1))
        .collect()
        .await;
    rows.sort_by_key(|(index, _)| *index);
    Report {
        subject: factory.name(),
        rows: rows.into_iter().map(|(_, row)| row).collect(),
    }
}

/// Runs the suite as the `main` of a test target without harness: `cargo test` filters and lists its
/// cases as it does with ordinary tests. `BUS_SEED` repeats a run.
///
/// What a factory cannot do is shown as ignored.
pub fn main(factories: &[Arc<dyn Factory>]) -> std::process::ExitCode {
    let seed = given_seed();
    let trials = factories
        .iter()
        .flat_map(|factory| {
            let mut cases = all();
            cases.sort_by_key(is_alone);
            cases.into_iter().map(|case| {
                trial(case, factory, move |case, factory| {
                    execute(case, factory, seed)
                })
            })
        })
        .collect();
    run_trials(trials, RunOptions::default().jobs)
}

/// As [`main`] with one factory, and more brokers, `spares`, for the cases that take theirs away: the others go on
/// meanwhile, `jobs` at a time.
///
/// Without a spare it is [`main`].
pub fn main_with_spares(
    factory: &Arc<dyn Factory>,
    spares: Vec<Arc<dyn Factory>>,
    jobs: usize,
) -> std::process::ExitCode {
    if spares.is_empty() {
        return main(std::slice::from_ref(factory));
    }
    let seed = given_seed();
    let mut cases = all();
    // What takes long does not begin last, when the others are over.
    cases.sort_by_key(|case| Reverse(case.timeout()));
    let (alone, beside): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(is_alone);
    // They wait for each other: spread over the others, few wait at a time. None begins among the last, when the others
    // would be over before it.
    let stride = beside.len() / (alone.len() + 3) + 1;
    let spares = Arc::new(Spares::new(spares));
    let mut alone = alone.into_iter().map(|case| {
        let spares = Arc::clone(&spares);
        trial(case, factory, move |case, _| {
            spares.lend(|spare| perform(case, spare, seed))
        })
    });
    let mut trials = Vec::new();
    for others in beside.chunks(stride) {
        trials.extend(alone.next());
        let others = others.iter().cloned();
        trials.extend(others.map(|case| {
            trial(case, factory, move |case, factory| {
                perform(case, factory, seed)
            })
        }));
    }
    trials.extend(alone);
    run_trials(trials, jobs)
}

fn given_seed() -> Option<u64> {
    std::env::var("BUS_SEED").ok()?.parse().ok()
}

fn run_trials(trials: Vec<Trial>, jobs: usize) -> std::process::ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(jobs);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Whether the case takes the broker away from all others. Such cases come last: each of them waits for all
/// that run, and keeps the next from beginning.
fn is_alone(case: &Case) -> bool {
    case.needs().contains(&Control::Restart)
}

fn trial(
    case: Case,
    factory: &Arc<dyn Factory>,
    run: impl FnOnce(&Case, &Arc<dyn Factory>) -> Row + Send + 'static,
) -> Trial {
    let factory = factory.clone();
    let missing = missing(&case, &*factory);
    let kind = match &missing {
        Some(what) => format!("{}, needs {what}", factory.name()),
        None => factory.name(),
    };
    Trial::test(case.name(), move || {
        let row = run(&case, &factory);
        match row.outcome {
            Outcome::Passed | Outcome::NotRun(_) => Ok(()),
            Outcome::Failed(text) => Err(Failed::from(format!("{text}\nBUS_SEED={}", row.seed))),
        }
    })
    .with_kind(kind)
    .with_ignored_flag(missing.is_some())
}

fn missing(case: &Case, factory: &dyn Factory) -> Option<String> {
    let missing: Vec<String> = case
        .needs()
        .iter()
        .filter(|control| !factory.controls().contains(control))
        .map(|control| format!("{control:?}"))
        .collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

/// Runs one case, alone when it takes the broker away.
pub(crate) fn execute(case: &Case, factory: &Arc<dyn Factory>, seed: Option<u64>) -> Row {
    let (_alone, _beside);
    if is_alone(case) {
        _alone = BROKER.write().unwrap_or_else(PoisonError::into_inner);
    } else {
        _beside = BROKER.read().unwrap_or_else(PoisonError::into_inner);
    }
    perform(case, factory, seed)
}

/// Runs one case on a runtime of its own, so that a case that hangs or leaks disturbs no other.
fn perform(case: &Case, factory: &Arc<dyn Factory>, seed: Option<u64>) -> Row {
    let seed = seed.unwrap_or_else(|| rand::rng().random());
    let begun = Instant::now();
    let outcome = match missing(case, &**factory) {
        Some(what) => Outcome::NotRun(format!("needs {what}")),
        None => drive(case, factory, seed),
    };
    Row {
        clause: case.clause(),
        case: case.name(),
        outcome,
        took: begun.elapsed(),
        seed,
    }
}

/// How much longer than its own time-out a case may take by the clock on the wall. Its time-out is a timer of
/// its runtime: a case that never yields keeps it from firing, and on a paused clock a busy one does, too.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the case on a thread of its own, which is left behind when the case does not come back.
fn drive(case: &Case, factory: &Arc<dyn Factory>, seed: u64) -> Outcome {
    let (outcome, ended) = mpsc::channel();
    let thread = std::thread::Builder::new().name(case.name().to_owned());
    let running = thread.spawn({
        let (case, factory) = (case.clone(), factory.clone());
        // Nobody waits any more when sending fails.
        move || drop(outcome.send(drive_here(&case, &factory, seed)))
    });
    let limit = case.timeout() + GRACE;
    match running {
        Err(error) => Outcome::Failed(format!("no thread: {error}")),
        Ok(_) => ended
            .recv_timeout(limit)
            .unwrap_or_else(|_| Outcome::Failed(format!("stuck: nothing heard for {limit:?}"))),
    }
}

fn drive_here(case: &Case, factory: &Arc<dyn Factory>, seed: u64) -> Outcome {
    let runtime = if factory.virtual_time() {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
    } else {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
    };
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Outcome::Failed(format!("no runtime: {error}")),
    };
    let namespace = match Namespace::new(format!("c-{:016x}", rand::rng().random::<u64>())) {
        Ok(namespace) => namespace,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let context = Context::new(factory.clone(), namespace, seed);
    let run = case.run;
    let local = tokio::task::LocalSet::new();
    let outcome = local.block_on(&runtime, async {
        let running = tokio::task::spawn_local(async move { run(context).await });
        match tokio::time::timeout(case.timeout(), running).await {
            Err(_) => Outcome::Failed(format!("not finished after {:?}", case.timeout())),
            Ok(Err(error)) => Outcome::Failed(format!("the case panicked: {error}")),
            Ok(Ok(Err(violation))) => Outcome::Failed(violation.to_string()),
            Ok(Ok(Ok(()))) => Outcome::Passed,
        }
    });
    // A case that timed out may have left a task that never yields.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}
