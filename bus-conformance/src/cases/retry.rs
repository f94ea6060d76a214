//! R1: what becomes of a message whose handler failed.

use std::time::Duration;

use bus_api::{Failure, Jitter, Retry};
use tokio::time::Instant;

use crate::case::{Case, case};
use crate::context::Context;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{
    Act, Bounds, Diary, Run, Scripted, buried_numbers, group, job, ms, notes, secs,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(r1_the_backoff_doubles_up_to_the_cap).within(secs(600)),
        case!(r1_jitter_spreads_retries_below_the_backoff).within(secs(600)),
        case!(r1_a_handler_runs_as_often_as_the_policy_says),
        case!(r1_a_panic_is_a_failure),
        case!(r1_a_timeout_is_a_failure),
        case!(r1_a_refusal_needs_no_second_attempt),
        case!(r1_errors_are_classified_by_type),
        case!(r1_a_chosen_delay_replaces_the_backoff).within(secs(600)),
        case!(r1_a_chosen_delay_is_an_attempt),
        case!(r1_defer_costs_no_attempt),
        case!(r1_others_flow_while_one_waits_for_its_backoff).within(secs(600)),
        case!(r1_a_dropped_delivery_follows_the_policy).within(secs(600)),
    ]
}

/// A backoff that is long where time costs nothing, so that a small error of it shows.
fn unit(context: &Context) -> Duration {
    if context.factory().virtual_time() {
        secs(4)
    } else {
        ms(300)
    }
}

/// The pauses between the beginnings of consecutive calls.
fn gaps(runs: &[Run]) -> Vec<Duration> {
    runs.windows(2)
        .map(|pair| pair[1].at.duration_since(pair[0].at))
        .collect()
}

/// Each pause is as long as expected, and at most as much longer as the contract calls prompt.
fn check_gaps(context: &Context, runs: &[Run], expected: &[Duration]) -> Result<(), Violation> {
    let gaps = gaps(runs);
    ensure_eq!(gaps.len(), expected.len(), "pauses between attempts");
    for (gap, expected) in gaps.iter().zip(expected) {
        // Clocks of brokers count whole milliseconds.
        ensure!(
            *gap + ms(2) >= *expected && *gap <= *expected + Bounds::of(context).prompt,
            "the pauses were {gaps:?}; expected {expected:?} where it was {gap:?}"
        );
    }
    Ok(())
}

async fn r1_the_backoff_doubles_up_to_the_cap(context: Context) -> Result<(), Violation> {
    let (client, unit, diary) = (context.client().await?, unit(&context), Diary::new());
    let retry = Retry::exponential(unit, unit * 4)
        .attempts(5)
        .jitter(Jitter::None);
    let crew = client
        .employ(job(group("g", "r.>")).retry(retry), &diary, |_| Act::fail())
        .await?;
    client.publish(&notes("r.a", [1])[0]).await?;
    diary.until_runs(5).await?;
    let entries = client.until_buried("g", 1).await?;
    let runs = diary.runs();
    ensure_eq!(diary.attempts_of(1), vec![1, 2, 3, 4, 5], "attempts");
    check_gaps(&context, &runs, &[unit, unit * 2, unit * 4, unit * 4])?;
    ensure_eq!(entries[0].attempts, 5, "attempts in the dead letter");
    crew.shutdown().await
}

/// Without jitter, messages that failed together come back together and fail together again.
async fn r1_jitter_spreads_retries_below_the_backoff(context: Context) -> Result<(), Violation> {
    let (client, unit, diary) = (context.client().await?, unit(&context), Diary::new());
    let retry = Retry::exponential(unit, unit)
        .attempts(2)
        .jitter(Jitter::Full);
    let crew = client
        .employ(
            job(group("g", "r.>")).retry(retry).concurrency(64),
            &diary,
            |run| {
                if run.attempt == 1 {
                    Act::fail()
                } else {
                    Act::Done
                }
            },
        )
        .await?;
    for result in client.publish_batch(&notes("r.a", 0..30)).await {
        result?;
    }
    diary.until_done(0..30).await?;
    let mut waited = Vec::new();
    for number in 0..30 {
        waited.extend(gaps(&diary.runs_of(number)));
    }
    let limit = unit + Bounds::of(&context).prompt;
    let (least, most) = (waited.iter().min(), waited.iter().max());
    ensure!(
        waited.iter().all(|gap| *gap <= limit),
        "retries after {most:?}; the backoff is {unit:?}"
    );
    // Thirty even draws within a tenth of the whole: once in 10^28.
    let spread = most.copied().unwrap_or_default() - least.copied().unwrap_or_default();
    ensure!(
        spread > unit / 10,
        "thirty retries with full jitter came within {spread:?}"
    );
    crew.shutdown().await
}

async fn r1_a_handler_runs_as_often_as_the_policy_says(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let crew = client
        .employ(job(group("g", "r.>")).attempts(3), &diary, |_| Act::fail())
        .await?;
    for result in client.publish_batch(&notes("r.a", 0..10)).await {
        result?;
    }
    client.until_buried("g", 10).await?;
    client.until_settled("g", "r.>").await?;
    for number in 0..10 {
        ensure_eq!(
            diary.attempts_of(number),
            vec![1, 2, 3],
            "attempts at number {number}"
        );
    }
    crew.shutdown().await
}

async fn r1_a_panic_is_a_failure(context: Context) -> Result<(), Violation> {
    fails_like(context, Act::Panic, Failure::PANIC).await
}

async fn r1_a_timeout_is_a_failure(context: Context) -> Result<(), Violation> {
    fails_like(context, Act::Hang, Failure::TIMEOUT).await
}

/// Number 1 ends like `act` once and is then handled, number 2 ends like it always; the worker lives on.
async fn fails_like(context: Context, act: Act, kind: &str) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let job = job(group("g", "r.>")).attempts(2).timeout(ms(400));
    let crew = client
        .employ(job, &diary, move |run| match (run.number, run.attempt) {
            (1, 2) | (3.., _) => Act::Done,
            _ => act.clone(),
        })
        .await?;
    for note in notes("r.a", 1..=4) {
        client.publish(&note).await?;
    }
    diary.until_done([1, 3, 4]).await?;
    let entries = client.until_buried("g", 1).await?;
    ensure_eq!(buried_numbers(&entries)?, vec![2], "dead letters");
    ensure_eq!(entries[0].error.kind, kind, "the kind of the failure");
    ensure_eq!(entries[0].attempts, 2, "attempts in the dead letter");
    ensure_eq!(diary.attempts_of(1), vec![1, 2], "attempts at number 1");
    ensure_eq!(diary.attempts_of(2), vec![1, 2], "attempts at number 2");
    diary.exactly([1, 3, 4])?;
    crew.shutdown().await
}

async fn r1_a_refusal_needs_no_second_attempt(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let crew = client
        .employ(job(group("g", "r.>")).attempts(9), &diary, |run| {
            if run.number == 1 {
                Act::refuse()
            } else {
                Act::Done
            }
        })
        .await?;
    for note in notes("r.a", 1..=2) {
        client.publish(&note).await?;
    }
    let entries = client.until_buried("g", 1).await?;
    diary.until_done([2]).await?;
    client.until_settled("g", "r.>").await?;
    ensure_eq!(diary.attempts_of(1), vec![1], "attempts at the refused one");
    ensure_eq!(entries[0].attempts, 1, "attempts in the dead letter");
    crew.shutdown().await
}

async fn r1_errors_are_classified_by_type(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let retry = Retry::exponential(ms(20), ms(20))
        .attempts(3)
        .dead_letter_if(|error: &Scripted| error.0.starts_with("550"));
    let crew = client
        .employ(job(group("g", "r.>")).retry(retry), &diary, |run| {
            Act::Fail(
                if run.number == 1 {
                    "550 no such user"
                } else {
                    "421 later"
                }
                .to_owned(),
            )
        })
        .await?;
    for note in notes("r.a", 1..=2) {
        client.publish(&note).await?;
    }
    client.until_buried("g", 2).await?;
    client.until_settled("g", "r.>").await?;
    ensure_eq!(
        diary.attempts_of(1),
        vec![1],
        "attempts at the permanent one"
    );
    ensure_eq!(
        diary.attempts_of(2),
        vec![1, 2, 3],
        "attempts at the other one"
    );
    crew.shutdown().await
}

async fn r1_a_chosen_delay_replaces_the_backoff(context: Context) -> Result<(), Violation> {
    let (client, unit, diary) = (context.client().await?, unit(&context), Diary::new());
    let chosen = unit * 3;
    let crew = client
        .employ(job(group("g", "r.>")), &diary, move |run| {
            if run.attempt == 1 {
                Act::RetryAfter(chosen)
            } else {
                Act::Done
            }
        })
        .await?;
    client.publish(&notes("r.a", [1])[0]).await?;
    diary.until_done([1]).await?;
    check_gaps(&context, &diary.runs(), &[chosen])?;
    crew.shutdown().await
}

async fn r1_a_chosen_delay_is_an_attempt(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let crew = client
        .employ(job(group("g", "r.>")).attempts(2), &diary, |_| {
            Act::RetryAfter(ms(10))
        })
        .await?;
    client.publish(&notes("r.a", [1])[0]).await?;
    client.until_buried("g", 1).await?;
    ensure_eq!(diary.attempts_of(1), vec![1, 2], "attempts");
    crew.shutdown().await
}

/// A defer that is counted as a failure gives a message up that no one has failed at.
async fn r1_defer_costs_no_attempt(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let script = {
        let diary = diary.clone();
        move |run: &Run| {
            if diary.runs_of(run.number).len() <= 7 {
                Act::Defer(ms(20))
            } else {
                Act::Done
            }
        }
    };
    let crew = client
        .employ(job(group("g", "r.>")).attempts(2), &diary, script)
        .await?;
    client.publish(&notes("r.a", [1])[0]).await?;
    diary.until_done([1]).await?;
    client.until_settled("g", "r.>").await?;
    ensure_eq!(
        diary.attempts_of(1),
        vec![1; 8],
        "attempts of a message that was deferred 7 times"
    );
    ensure_eq!(client.buried_count("g").await?, 0, "dead letters");
    crew.shutdown().await
}

/// A retry that sleeps in the handler's place, or a log that is read strictly in order, stops everything
/// behind one failed message.
async fn r1_others_flow_while_one_waits_for_its_backoff(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    // Long enough for a slow machine to handle the others, shorter than anybody's patience.
    let rest = secs(4);
    let crew = client
        .employ(
            job(group("g", "r.>").in_flight(4)).concurrency(2),
            &diary,
            move |run| match (run.number, run.attempt) {
                (0..8, 1) => Act::RetryAfter(rest),
                _ => Act::Done,
            },
        )
        .await?;
    let begun = Instant::now();
    for result in client.publish_batch(&notes("r.a", 0..60)).await {
        result?;
    }
    diary.until_done(8..60).await?;
    let took = begun.elapsed();
    ensure!(
        took < rest,
        "the others were handled after {took:?}, when the {rest:?} of the failed ones were over"
    );
    diary.until_done(0..60).await?;
    diary.exactly(0..60)?;
    crew.shutdown().await
}

/// A stream user gets the same policy: a dropped delivery is a failure with its backoff.
async fn r1_a_dropped_delivery_follows_the_policy(context: Context) -> Result<(), Violation> {
    let (client, unit) = (context.client().await?, unit(&context));
    let want = group("g", "r.>").attempts(3).backoff(unit);
    let mut inbox = client.join(want).await?;
    client.publish(&notes("r.a", [1])[0]).await?;
    let mut dropped: Option<Instant> = None;
    for attempt in 1..=3 {
        let token = inbox.next().await?;
        ensure_eq!(token.attempt(), attempt, "the attempt");
        if let Some(dropped) = dropped {
            let gap = dropped.elapsed();
            ensure!(
                gap + ms(2) >= unit && gap <= unit + Bounds::of(&context).prompt,
                "it came again after {gap:?}; the backoff is {unit:?}"
            );
        }
        drop(token);
        dropped = Some(Instant::now());
    }
    let entries = client.until_buried("g", 1).await?;
    ensure_eq!(
        entries[0].error.kind,
        Failure::DROPPED,
        "the kind of the failure"
    );
    ensure_eq!(entries[0].attempts, 3, "attempts in the dead letter");
    inbox.quiet().await?;
    inbox.leave().await
}
