//! A7 and I1: what is counted, and what stays the same.

use std::collections::BTreeSet;

use crate::case::{Case, case};
use crate::context::Context;
use crate::factory::Control;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Ledger, Note, ack_all, eventually, group, ms, notes, secs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(a7_failures_raise_the_attempt),
        case!(a7_failures_count_across_members),
        case!(a7_prefetch_and_hand_back_leave_the_attempt),
        case!(a7_a_death_that_started_nothing_leaves_the_attempt)
            .with(&[Control::Kill])
            .within(secs(90)),
        case!(a7_a_crash_in_a_started_handler_raises_the_attempt)
            .with(&[Control::Kill])
            .within(secs(120)),
        case!(a7_the_attempt_survives_the_broker)
            .with(&[Control::Restart])
            .within(secs(90)),
        case!(i1_the_id_is_the_same_on_every_redelivery),
        case!(i1_the_id_survives_a_death)
            .with(&[Control::Kill])
            .within(secs(60)),
        case!(i1_the_id_survives_dead_letter_and_redrive),
    ]
}

async fn a7_failures_raise_the_attempt(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "a.b").backoff(ms(20))).await?;
    client.publish(&Note::new("a.b", 1)).await?;
    let mut hand_overs = 0;
    for attempt in 1..=7 {
        let token = inbox.next().await?;
        ensure_eq!(token.attempt(), attempt, "the attempt");
        let delivery = token.envelope().delivery;
        ensure!(
            delivery >= 1 && delivery >= hand_overs,
            "hand-over {delivery} after {hand_overs}"
        );
        hand_overs = delivery;
        match attempt % 3 {
            0 => token.nack().await?,
            1 => token.nack_after(ms(30)).await?,
            _ => drop(token),
        }
    }
    let token = inbox.next().await?;
    ensure_eq!(token.attempt(), 8, "the attempt");
    token.ack().await
}

async fn a7_failures_count_across_members(context: Context) -> Result<(), Violation> {
    let want = group("g", "a.b");
    let publisher = context.client().await?;
    publisher.publish(&Note::new("a.b", 1)).await?;
    for round in 0..3 {
        let client = context.client().await?;
        let mut inbox = client.join(want.clone()).await?;
        for failure in 0..2 {
            let token = inbox.next().await?;
            ensure_eq!(token.attempt(), round * 2 + failure + 1, "the attempt");
            token.nack().await?;
        }
        inbox.leave().await?;
        client.bus.close().await?;
    }
    let mut inbox = publisher.join(want).await?;
    let token = inbox.next().await?;
    ensure_eq!(token.attempt(), 7, "the attempt at a fourth member");
    token.ack().await
}

/// A broker's own counter of deliveries, taken for the attempt, is wrong here.
async fn a7_prefetch_and_hand_back_leave_the_attempt(context: Context) -> Result<(), Violation> {
    let want = group("g", "a.b").in_flight(20);
    let publisher = context.client().await?;
    for note in notes("a.b", 0..12) {
        publisher.publish(&note).await?;
    }
    // One has failed before: its record stays, too.
    let mut inbox = publisher.join(want.clone()).await?;
    let held = inbox.hold(12).await?;
    let (failed, rest): (Vec<_>, Vec<_>) = held.into_iter().partition(|token| token.number() == 0);
    for token in failed {
        token.nack().await?;
    }
    ack_all(rest).await?;
    let again = inbox.next().await?;
    ensure_eq!((again.number(), again.attempt()), (0, 2), "the failed one");
    again.ack().await?;
    inbox.leave().await?;

    for note in notes("a.b", 100..118) {
        publisher.publish(&note).await?;
    }
    for round in 0..6 {
        let client = context.client().await?;
        let mut inbox = client.join(want.clone()).await?;
        // Taking one fetches more; they are handed back unseen.
        let token = inbox.next().await?;
        ensure_eq!(token.attempt(), 1, "the attempt in round {round}");
        token.ack().await?;
        if round % 2 == 0 {
            inbox.leave().await?;
        } else {
            drop(inbox);
        }
        client.bus.close().await?;
    }
    let mut inbox = publisher.join(want).await?;
    for token in inbox.hold(12).await? {
        ensure_eq!(token.attempt(), 1, "the attempt of {}", token.number());
        token.ack().await?;
    }
    inbox.quiet().await
}

/// What a dead member merely held was not attempted.
async fn a7_a_death_that_started_nothing_leaves_the_attempt(
    context: Context,
) -> Result<(), Violation> {
    let publisher = context.client().await?;
    let lease = publisher.capabilities().min_lease.max(ms(300));
    let want = group("g", "a.b").lease(lease).in_flight(16);
    for note in notes("a.b", 0..12) {
        publisher.publish(&note).await?;
    }
    for _ in 0..2 {
        let client = context.client().await?;
        let mut inbox = client.join(want.clone()).await?;
        // Taking one fetches more.
        let token = inbox.next_within(secs(40)).await?;
        ensure_eq!(token.attempt(), 1, "the attempt of {}", token.number());
        token.ack().await?;
        client.connection.disturb.kill().await;
        drop(inbox);
    }
    let mut inbox = publisher.join(want).await?;
    for token in inbox.hold(10).await? {
        ensure_eq!(token.attempt(), 1, "the attempt of {}", token.number());
        token.ack().await?;
    }
    inbox.quiet().await
}

/// The first delivery pays nothing and is not marked; from the second on a started handler that dies is
/// counted (R4).
async fn a7_a_crash_in_a_started_handler_raises_the_attempt(
    context: Context,
) -> Result<(), Violation> {
    let publisher = context.client().await?;
    let lease = publisher.capabilities().min_lease.max(ms(300));
    let want = group("g", "a.b").lease(lease);
    publisher.publish(&Note::new("a.b", 1)).await?;
    let mut attempts = Vec::new();
    for _ in 0..4 {
        let client = context.client().await?;
        let mut inbox = client.join(want.clone()).await?;
        let token = inbox.next_within(secs(40)).await?;
        attempts.push(token.attempt());
        client.connection.disturb.kill().await;
        drop((token, inbox));
    }
    ensure_eq!(attempts, vec![1, 1, 2, 3], "the attempts of four handlers");
    let mut inbox = publisher.join(want).await?;
    let token = inbox.next_within(secs(40)).await?;
    ensure_eq!(token.attempt(), 4, "the attempt of the fifth");
    token.ack().await
}

async fn a7_the_attempt_survives_the_broker(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "a.b")).await?;
    client.publish(&Note::new("a.b", 1)).await?;
    for _ in 0..3 {
        inbox.next().await?.nack().await?;
    }
    let token = inbox.next().await?;
    ensure_eq!(token.attempt(), 4, "the attempt before");
    token.nack_after(secs(2)).await?;
    client.until_durable().await;
    context.factory().stop_broker().await?;
    context.factory().start_broker().await?;
    let token = inbox.next_within(secs(60)).await?;
    let exact = client.capabilities().exact_attempts;
    ensure!(
        token.attempt() == 5 || (!exact && token.attempt() < 5),
        "the attempt after is {}; exact attempts: {exact}",
        token.attempt()
    );
    token.ack().await
}

async fn i1_the_id_is_the_same_on_every_redelivery(context: Context) -> Result<(), Violation> {
    let (first, second) = (context.client().await?, context.client().await?);
    let want = group("g", "a.b").backoff(ms(20));
    let mut ids = BTreeSet::new();
    let mut inbox = first.join(want.clone()).await?;
    ids.insert(first.publish(&Note::new("a.b", 1)).await?.id.to_string());
    for attempt in 0..6 {
        let token = inbox.next().await?;
        ids.insert(token.envelope().metadata.id.to_string());
        match attempt % 3 {
            0 => token.nack().await?,
            1 => token.nack_after(ms(30)).await?,
            _ => drop(token),
        }
    }
    inbox.leave().await?;
    let mut inbox = second.join(want).await?;
    let token = inbox.next().await?;
    ids.insert(token.envelope().metadata.id.to_string());
    token.ack().await?;
    // Another subscription sees the same.
    let mut inbox = second.join(group("h", ">")).await?;
    let token = inbox.next().await?;
    ids.insert(token.envelope().metadata.id.to_string());
    token.ack().await?;
    ensure_eq!(ids.len(), 1, "different ids: {ids:?}");
    Ok(())
}

async fn i1_the_id_survives_a_death(context: Context) -> Result<(), Violation> {
    let (first, second) = (context.client().await?, context.client().await?);
    let lease = first.capabilities().min_lease.max(ms(300));
    let want = group("g", "a.b").lease(lease);
    let mut ids = BTreeSet::new();
    for note in notes("a.b", 0..5) {
        ids.insert(second.publish(&note).await?.id);
    }
    let mut inbox = first.join(want.clone()).await?;
    let held = inbox.hold(5).await?;
    first.connection.disturb.kill().await;
    let mut inbox = second.join(want).await?;
    for token in inbox.hold(5).await? {
        ensure!(
            ids.remove(&token.envelope().metadata.id),
            "id {} is another one or came twice",
            token.envelope().metadata.id
        );
        token.ack().await?;
    }
    drop(held);
    Ok(())
}

async fn i1_the_id_survives_dead_letter_and_redrive(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "a.b").attempts(2).backoff(ms(10));
    let mut inbox = client.join(want.clone()).await?;
    let id = client.publish(&Note::new("a.b", 1)).await?.id;
    for _ in 0..2 {
        let token = inbox.next().await?;
        ensure_eq!(token.envelope().metadata.id, id, "the id of an attempt");
        drop(token);
    }
    let dead = client.bus.dead_letters("g");
    let all = bus_api::Filter::default();
    eventually("a dead letter", || async {
        Ok(dead.count(&all).await? == 1)
    })
    .await?;
    for entry in dead.page(&all, None, 10).await?.entries {
        ensure_eq!(entry.message.metadata.id, id, "the id of the dead letter");
    }
    let report = dead.redrive(&all).await?;
    drop(report);
    let token = inbox.next().await?;
    ensure_eq!(
        token.envelope().metadata.id,
        id,
        "the id of the redriven one"
    );
    ensure_eq!(token.attempt(), 1, "its attempt");
    token.ack().await?;
    inbox.quiet().await?;
    let mut late = client.join(group("late", ">")).await?;
    late.take_all(&Ledger::expecting([1])).await
}
