//! S1 and S2: when a subscription begins, and what it remembers.

use bus_api::Start;

use crate::case::{Case, case};
use crate::context::Context;
use crate::factory::Control;
use crate::outcome::{Violation, ensure_eq};
use crate::probe::{
    Ledger, Note, ack_all, broadcast, group, let_the_clock_tick, notes, numbers, secs,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(s1_nothing_published_after_subscribe_is_missed),
        case!(s1_a_second_member_changes_nothing),
        case!(s2_earliest_starts_at_the_first_message),
        case!(s2_latest_starts_after_what_was_published),
        case!(s2_latest_is_resolved_once),
        case!(s2_a_first_start_can_be_a_position_or_a_time),
        case!(s2_the_stored_position_wins),
        case!(s2_what_was_held_unsettled_comes_to_the_next_member),
        case!(s2_the_position_survives_a_broker_restart)
            .with(&[Control::Restart])
            .within(secs(90)),
    ]
}

/// No sleep between subscribing and publishing: a consumer that begins at the first fetch misses some.
async fn s1_nothing_published_after_subscribe_is_missed(context: Context) -> Result<(), Violation> {
    let (publisher, subscriber) = (context.client().await?, context.client().await?);
    for round in 0..8_u64 {
        // Every second round the topic exists already and holds something older.
        let topic = format!("round-{}.a", round / 2);
        let patterns = [topic.clone(), format!("round-{}.*", round / 2)];
        let first = round * 100;
        let mut inboxes = Vec::new();
        for pattern in &patterns {
            let name = format!("g{round}");
            inboxes.push(subscriber.join(group(&name, pattern).latest()).await?);
            inboxes.push(subscriber.join(broadcast(pattern)).await?);
        }
        for note in notes(&topic, first..first + 5) {
            publisher.publish(&note).await?;
        }
        for mut inbox in inboxes {
            let held = inbox.hold(5).await?;
            let expected: Vec<u64> = (first..first + 5).collect();
            ensure_eq!(numbers(&held), expected, "round {round}");
            ack_all(held).await?;
            inbox.quiet_for(crate::probe::ms(50)).await?;
            inbox.leave().await?;
        }
    }
    Ok(())
}

async fn s1_a_second_member_changes_nothing(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let ledger = Ledger::expecting(0..30);
    let first = client.join(group("g", "a.b").latest()).await?;
    for note in notes("a.b", 0..15) {
        client.publish(&note).await?;
    }
    // Its own start is ignored: the subscription exists.
    let other = context.client().await?;
    let second = other.join(group("g", "a.b").start(Start::Earliest)).await?;
    for note in notes("a.b", 15..30) {
        client.publish(&note).await?;
    }
    let first = crate::probe::Pump::acking("first", first, &ledger);
    let second = crate::probe::Pump::acking("second", second, &ledger);
    ledger.until_all_acked().await?;
    let mut first = first.stop().await?;
    second.leave().await?;
    first.quiet().await?;
    ledger.exact()
}

async fn s2_earliest_starts_at_the_first_message(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    for note in notes("a.b", 0..40) {
        client.publish(&note).await?;
    }
    let mut inbox = client
        .join(group("g", "a.*").start(Start::Earliest))
        .await?;
    inbox.take_all(&Ledger::expecting(0..40)).await
}

async fn s2_latest_starts_after_what_was_published(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    for note in notes("a.b", 0..20) {
        client.publish(&note).await?;
    }
    let mut inbox = client.join(group("g", "a.*").latest()).await?;
    for note in notes("a.b", 20..40) {
        client.publish(&note).await?;
    }
    inbox.take_all(&Ledger::expecting(20..40)).await
}

/// A `Latest` that is resolved again at each join loses what came while no member lived.
async fn s2_latest_is_resolved_once(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    client.publish(&Note::new("a.b", 0)).await?;
    let want = group("g", "a.b").latest();
    client.join(want.clone()).await?.leave().await?;
    let ledger = Ledger::expecting(1..=10);
    for note in notes("a.b", 1..=10) {
        client.publish(&note).await?;
    }
    let mut inbox = client.join(want).await?;
    inbox.take_all(&ledger).await
}

async fn s2_a_first_start_can_be_a_position_or_a_time(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    // Other logs start at the position's store time, which the message before it must not share.
    for numbers in [0..4, 4..10] {
        for note in notes("a.b", numbers) {
            client.publish(&note).await?;
        }
        let_the_clock_tick().await;
    }
    let mut scout = client.join(group("scout", "a.b")).await?;
    let held = scout.hold(10).await?;
    let Some(fourth) = held.iter().find(|token| token.number() == 4) else {
        return Err(Violation::new("message 4 is missing"));
    };
    let position = fourth.envelope().position.clone();
    let from_position = group("p", "a.b").start(Start::Position(position));
    let from_time = group("t", "a.b").start(Start::Time(bus_api::clock::now() + secs(3600)));
    client.join(from_position.clone()).await?.leave().await?;
    // From then on the stored position counts, whoever joins and wherever he wants to start.
    let mut inbox = client.join(from_position.latest()).await?;
    inbox.take_all(&Ledger::expecting(4..10)).await?;
    let mut inbox = client.join(from_time).await?;
    inbox.quiet().await
}

async fn s2_the_stored_position_wins(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "a.b");
    for note in notes("a.b", 0..10) {
        client.publish(&note).await?;
    }
    let mut inbox = client.join(want.clone()).await?;
    inbox.take_all(&Ledger::expecting(0..10)).await?;
    inbox.leave().await?;
    client.bus.close().await?;

    let mut next = 10;
    for start in [
        Start::Earliest,
        Start::Latest,
        Start::Time(std::time::UNIX_EPOCH),
    ] {
        let client = context.client().await?;
        for note in notes("a.b", next..next + 5) {
            client.publish(&note).await?;
        }
        let mut inbox = client.join(want.clone().start(start)).await?;
        inbox.take_all(&Ledger::expecting(next..next + 5)).await?;
        inbox.leave().await?;
        next += 5;
    }
    Ok(())
}

async fn s2_what_was_held_unsettled_comes_to_the_next_member(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "a.b").backoff(crate::probe::ms(10));
    for note in notes("a.b", 0..20) {
        client.publish(&note).await?;
    }
    let mut inbox = client.join(want.clone()).await?;
    let (done, held): (Vec<_>, Vec<_>) = inbox
        .hold(20)
        .await?
        .into_iter()
        .partition(|token| token.number() % 3 == 0);
    ack_all(done).await?;
    drop(held);
    inbox.leave().await?;
    let rest = (0..20).filter(|number| number % 3 != 0);
    let mut inbox = client.join(want).await?;
    inbox.take_all(&Ledger::expecting(rest)).await
}

async fn s2_the_position_survives_a_broker_restart(context: Context) -> Result<(), Violation> {
    let want = group("g", "a.b");
    let client = context.client().await?;
    for note in notes("a.b", 0..20) {
        client.publish(&note).await?;
    }
    let mut inbox = client.join(want.clone()).await?;
    ack_all(inbox.hold(20).await?).await?;
    client.until_durable().await;
    inbox.leave().await?;
    context.factory().stop_broker().await?;
    context.factory().start_broker().await?;
    let client = context.client().await?;
    for note in notes("a.b", 20..25) {
        client.publish(&note).await?;
    }
    let mut inbox = client.join(want).await?;
    inbox.take_all(&Ledger::expecting(20..25)).await
}
