//! R4: a process that dies in a handler.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bus_api::Failure;

use crate::case::{Case, case};
use crate::context::{Client, Context};
use crate::factory::Control;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{
    Act, Diary, Job, Pages, Run, Want, buried_numbers, eventually, group, job, notes, secs,
};

pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        case!(r4_a_crash_in_the_handler_raises_the_attempt),
        case!(r4_a_handler_that_kills_runs_at_most_once_more_than_allowed),
        case!(r4_what_the_dead_member_merely_held_keeps_its_attempt),
        case!(r4_one_that_kills_among_200_is_the_only_dead_letter),
        case!(r4_a_failure_before_the_crash_still_counts),
    ];
    cases
        .into_iter()
        .map(|case| case.with(&[Control::Kill]).within(secs(180)))
        .collect()
}

const NAMES: [&str; 8] = [
    "victim 1", "victim 2", "victim 3", "victim 4", "victim 5", "victim 6", "victim 7", "victim 8",
];

/// A short lease: how long the dead are waited for.
fn want(client: &Client) -> Want {
    let lease = client.capabilities().min_lease.max(secs(1));
    group("g", "r.>").lease(lease)
}

/// Starts one worker after the other; each dies as soon as its handler is called with `number`. Ends when
/// `over` says so, asked whenever a handler was called or a while has passed.
async fn die_of(
    context: &Context,
    number: u64,
    job: &Job,
    diary: &Diary,
    script: impl Fn(&Run) -> Act + Send + Sync + 'static,
    over: impl AsyncFn() -> Result<bool, Violation>,
) -> Result<(), Violation> {
    let script = Arc::new(script);
    for worker in NAMES {
        let doomed = context.client().await?;
        let (job, script) = (job.clone().named(worker), script.clone());
        let crew = doomed.employ(job, diary, move |run| script(run)).await?;
        let called = |pages: &Pages| pages.of(number).any(|run| run.worker == worker);
        let mut finished = false;
        eventually("the next crash, or the end of it", async || {
            finished = over().await?;
            Ok(finished || diary.read(called))
        })
        .await?;
        if finished {
            // What is in a handler at this moment may be one that never returns.
            crew.drain(Duration::from_millis(50)).await?;
            return Ok(());
        }
        doomed.connection.disturb.kill().await;
        crew.leave_running();
    }
    Err(Violation::new(format_args!(
        "number {number} has killed {} workers and still comes: attempts {:?}",
        NAMES.len(),
        diary.attempts_of(number)
    )))
}

async fn r4_a_crash_in_the_handler_raises_the_attempt(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let job = job(want(&client)).attempts(9);
    client.join(job.want.clone()).await?.leave().await?;
    client.publish(&notes("r.a", [1])[0]).await?;
    let calls = diary.clone();
    die_of(
        &context,
        1,
        &job,
        &diary,
        |_| Act::Hang,
        async || Ok(calls.runs().len() >= 4),
    )
    .await?;
    // The first delivery pays nothing for a mark, so that its crash goes unnoticed; the later ones count.
    ensure_eq!(
        diary.attempts_of(1)[..4],
        [1, 1, 2, 3],
        "attempts after crashes in a started handler"
    );
    Ok(())
}

async fn r4_a_handler_that_kills_runs_at_most_once_more_than_allowed(
    context: Context,
) -> Result<(), Violation> {
    const ALLOWED: u32 = 3;
    let (client, diary) = (context.client().await?, Diary::new());
    let job = job(want(&client)).attempts(ALLOWED);
    client.join(job.want.clone()).await?.leave().await?;
    client.publish(&notes("r.a", [1])[0]).await?;
    die_of(
        &context,
        1,
        &job,
        &diary,
        |_| Act::Hang,
        async || Ok(client.buried_count("g").await? > 0),
    )
    .await?;
    let runs = diary.runs().len();
    ensure!(
        runs <= ALLOWED as usize + 1,
        "the handler ran {runs} times; {ALLOWED} attempts are allowed"
    );
    ensure!(
        runs >= ALLOWED as usize,
        "given up after {runs} of {ALLOWED} attempts"
    );
    let entries = client.until_buried("g", 1).await?;
    ensure_eq!(
        entries[0].error.kind,
        Failure::CRASH,
        "the kind of the failure"
    );
    client.until_settled("g", "r.>").await
}

async fn r4_what_the_dead_member_merely_held_keeps_its_attempt(
    context: Context,
) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let job = job(want(&client)).attempts(2).concurrency(1);
    client.join(job.want.clone()).await?.leave().await?;
    for result in client.publish_batch(&notes("r.a", 0..50)).await {
        result?;
    }
    for worker in &NAMES[..3] {
        let doomed = context.client().await?;
        let crew = doomed
            .employ(job.clone().named(worker), &diary, |_| Act::Hang)
            .await?;
        diary
            .until("a handler is called", |pages| {
                pages.runs.iter().any(|run| run.worker == *worker)
            })
            .await?;
        doomed.connection.disturb.kill().await;
        crew.leave_running();
    }
    let struck: BTreeSet<u64> = diary.runs().iter().map(|run| run.number).collect();
    let heir = Diary::new();
    let crew = client.employ(job.attempts(9), &heir, |_| Act::Done).await?;
    heir.until_done((0..50).filter(|number| !struck.contains(number)))
        .await?;
    for run in heir.runs() {
        ensure!(
            run.attempt == 1 || struck.contains(&run.number),
            "number {} was never in a handler of a dead process and is at attempt {}",
            run.number,
            run.attempt
        );
    }
    client.until_settled("g", "r.>").await?;
    ensure_eq!(client.buried_count("g").await?, 0, "dead letters");
    crew.shutdown().await
}

/// The broker's own counter rises for all 200 whenever the process dies; who trusts it buries them all.
async fn r4_one_that_kills_among_200_is_the_only_dead_letter(
    context: Context,
) -> Result<(), Violation> {
    const KILLER: u64 = 100;
    let (client, diary) = (context.client().await?, Diary::new());
    let job = job(want(&client)).attempts(2).concurrency(8);
    client.join(job.want.clone()).await?.leave().await?;
    for result in client.publish_batch(&notes("r.a", 0..201)).await {
        result?;
    }
    let script = |run: &Run| match run.number {
        KILLER => Act::Hang,
        _ => Act::Take(Duration::from_millis(2)),
    };
    die_of(&context, KILLER, &job, &diary, script, async || {
        Ok(client.buried_count("g").await? > 0 && client.info(&group("g", "r.>")).await?.lag == 0)
    })
    .await?;
    let entries = client.buried("g").await?;
    ensure_eq!(buried_numbers(&entries)?, vec![KILLER], "dead letters");
    ensure_eq!(
        entries[0].error.kind,
        Failure::CRASH,
        "the kind of the failure"
    );
    let lost: Vec<u64> = (0..201)
        .filter(|number| *number != KILLER && !diary.read(|pages| pages.done.contains_key(number)))
        .collect();
    ensure!(lost.is_empty(), "never handled: {lost:?}");
    let runs = diary.runs_of(KILLER).len();
    ensure!(
        (2..=3).contains(&runs),
        "the one that kills ran {runs} times; 2 are allowed"
    );
    Ok(())
}

/// A record that the mark of the next start overwrites is a failure forgotten.
async fn r4_a_failure_before_the_crash_still_counts(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let job = job(want(&client)).attempts(9);
    client.join(job.want.clone()).await?.leave().await?;
    client.publish(&notes("r.a", [1])[0]).await?;
    let doomed = context.client().await?;
    let crew = doomed
        .employ(job.clone(), &diary, |run| {
            if run.attempt <= 2 {
                Act::fail()
            } else {
                Act::Hang
            }
        })
        .await?;
    diary.until_runs(3).await?;
    doomed.connection.disturb.kill().await;
    crew.leave_running();
    let crew = client.employ(job, &diary, |_| Act::Done).await?;
    diary.until_done([1]).await?;
    // The third delivery was marked: it came back with a recorded failure.
    ensure_eq!(
        diary.attempts_of(1),
        vec![1, 2, 3, 4],
        "two failures and a crash"
    );
    crew.shutdown().await
}
