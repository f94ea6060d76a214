//! R7: shutting down is no failure. R8: expiry.

use bus_api::{Failure, Start};
use tokio::time::sleep;

use crate::case::{Case, case};
use crate::context::Context;
use crate::outcome::{Violation, ensure_eq};
use crate::probe::{Act, Diary, buried_numbers, group, job, ms, notes, numbers, secs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(r7_drains_leave_the_attempt_alone).within(secs(180)),
        case!(r7_a_drain_never_makes_a_dead_letter).within(secs(120)),
        case!(r7_leaving_a_stream_hands_back_unchanged),
        case!(r7_a_drain_keeps_earlier_failures),
        case!(r8_expired_messages_are_not_handled),
        case!(r8_expired_messages_can_become_dead_letters),
        case!(r8_a_retry_after_expiry_does_not_happen),
    ]
}

/// Each worker has one message in its handler and the others waiting when it is told to drain.
async fn r7_drains_leave_the_attempt_alone(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let job = job(group("g", "r.>")).attempts(2).concurrency(2);
    client.join(job.want.clone()).await?.leave().await?;
    for result in client.publish_batch(&notes("r.a", 0..40)).await {
        result?;
    }
    for drain in 1..=20 {
        let member = context.client().await?;
        let crew = member.employ(job.clone(), &diary, |_| Act::Hang).await?;
        diary.until_runs(2 * drain).await?;
        crew.drain(ms(10)).await?;
        member.close().await?;
    }
    let last = Diary::new();
    let crew = client.employ(job, &last, |_| Act::Done).await?;
    last.until_done(0..40).await?;
    client.until_settled("g", "r.>").await?;
    last.exactly(0..40)?;
    for run in diary.runs().iter().chain(&last.runs()) {
        ensure_eq!(
            run.attempt,
            1,
            "the attempt of number {} after hand-backs",
            run.number
        );
    }
    ensure_eq!(client.buried_count("g").await?, 0, "dead letters");
    crew.shutdown().await
}

/// With one attempt allowed, a hand-back that counts is a dead letter at once.
async fn r7_a_drain_never_makes_a_dead_letter(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let job = job(group("g", "r.>")).attempts(1).concurrency(4);
    client.join(job.want.clone()).await?.leave().await?;
    for result in client.publish_batch(&notes("r.a", 0..12)).await {
        result?;
    }
    for drain in 1..=4 {
        let crew = client.employ(job.clone(), &diary, |_| Act::Hang).await?;
        diary.until_runs(4 * drain).await?;
        crew.drain(ms(10)).await?;
    }
    let last = Diary::new();
    let crew = client.employ(job, &last, |_| Act::Done).await?;
    last.until_done(0..12).await?;
    client.until_settled("g", "r.>").await?;
    last.exactly(0..12)?;
    ensure_eq!(client.buried_count("g").await?, 0, "dead letters of drains");
    crew.shutdown().await
}

async fn r7_leaving_a_stream_hands_back_unchanged(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "r.>").attempts(1);
    client.join(want.clone()).await?.leave().await?;
    for result in client.publish_batch(&notes("r.a", 0..30)).await {
        result?;
    }
    for acked in 0..5 {
        let mut inbox = client.join(want.clone()).await?;
        // One is taken and acked; what was fetched beside it goes back.
        let token = inbox.next().await?;
        ensure_eq!(
            token.attempt(),
            1,
            "the attempt after {acked} members have left"
        );
        token.ack().await?;
        inbox.leave().await?;
    }
    let mut inbox = client.join(want).await?;
    let rest = inbox.hold(25).await?;
    for token in &rest {
        ensure_eq!(token.attempt(), 1, "the attempt of {}", token.number());
    }
    ensure_eq!(numbers(&rest).len(), 25, "what is left of 30 after 5 acks");
    crate::probe::ack_all(rest).await?;
    inbox.quiet().await?;
    ensure_eq!(client.buried_count("g").await?, 0, "dead letters");
    inbox.leave().await
}

/// A hand-back that clears the record gives every failing message a new life at every deployment.
async fn r7_a_drain_keeps_earlier_failures(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let job = job(group("g", "r.>")).attempts(5);
    client.join(job.want.clone()).await?.leave().await?;
    client.publish(&notes("r.a", [1])[0]).await?;
    let crew = client
        .employ(job.clone(), &diary, |run| {
            if run.attempt <= 2 {
                Act::fail()
            } else {
                Act::Hang
            }
        })
        .await?;
    diary.until_runs(3).await?;
    crew.drain(ms(10)).await?;
    let crew = client.employ(job, &diary, |_| Act::Done).await?;
    diary.until_done([1]).await?;
    ensure_eq!(
        diary.attempts_of(1),
        vec![1, 2, 3, 3],
        "attempts around a drain"
    );
    crew.shutdown().await
}

/// Longer than the expiry and the tolerated difference of clocks (1 s unless configured).
const PAST_EXPIRY: std::time::Duration = ms(2_500);

async fn r8_expired_messages_are_not_handled(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    client.join(group("g", "r.>")).await?.leave().await?;
    for note in notes("r.a", 0..10) {
        let publish = client.publish(&note);
        if note.number % 2 == 0 {
            publish.expires_in(ms(500)).await?;
        } else {
            publish.expires_in(secs(3600)).await?;
        }
    }
    // Not a wait for something to happen: the clause is about time that has passed.
    sleep(PAST_EXPIRY).await;
    let crew = client
        .employ(job(group("g", "r.>")), &diary, |_| Act::Done)
        .await?;
    diary
        .until_done((0..10).filter(|number| number % 2 == 1))
        .await?;
    client.until_settled("g", "r.>").await?;
    diary.exactly((0..10).filter(|number| number % 2 == 1))?;
    ensure_eq!(client.buried_count("g").await?, 0, "dead letters");
    crew.shutdown().await
}

async fn r8_expired_messages_can_become_dead_letters(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    client.join(group("g", "r.>")).await?.leave().await?;
    for note in notes("r.a", 0..3) {
        client.publish(&note).expires_in(ms(500)).await?;
    }
    sleep(PAST_EXPIRY).await;
    let crew = client
        .employ(job(group("g", "r.>")).keeping_expired(), &diary, |_| {
            Act::Done
        })
        .await?;
    let entries = client.until_buried("g", 3).await?;
    ensure_eq!(buried_numbers(&entries)?, vec![0, 1, 2], "dead letters");
    for entry in &entries {
        ensure_eq!(
            entry.error.kind,
            Failure::EXPIRED,
            "the kind of the failure"
        );
    }
    ensure_eq!(diary.runs().len(), 0, "calls of the handler");
    crew.shutdown().await
}

async fn r8_a_retry_after_expiry_does_not_happen(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let want = group("g", "r.>").start(Start::Latest);
    let crew = client
        .employ(job(want), &diary, |run| match (run.number, run.attempt) {
            (1, 1) => Act::RetryAfter(PAST_EXPIRY),
            _ => Act::Done,
        })
        .await?;
    client
        .publish(&notes("r.a", [1])[0])
        .expires_in(ms(500))
        .await?;
    diary.until_runs(1).await?;
    client.until_settled("g", "r.>").await?;
    ensure_eq!(
        diary.attempts_of(1),
        vec![1],
        "attempts; the second was too late"
    );
    ensure_eq!(client.buried_count("g").await?, 0, "dead letters");
    crew.shutdown().await
}
