//! S5: broadcast.

use crate::case::{Case, case};
use crate::context::Context;
use crate::factory::Control;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Ledger, Note, Pump, ack_all, broadcast, eventually, group, ms, notes, secs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(s5_every_broadcast_subscriber_gets_every_message),
        case!(s5_a_broadcast_starts_when_it_is_made),
        case!(s5_a_broadcast_leaves_nothing_behind),
        case!(s5_a_broadcast_leaves_nothing_on_the_broker).with(&[Control::Leftovers]),
        case!(s5_a_dead_broadcast_leaves_nothing_on_the_broker)
            .with(&[Control::Leftovers, Control::Kill])
            .within(secs(90)),
        case!(s5_a_failed_broadcast_is_retried_in_the_member_and_then_dropped),
        case!(s5_a_broadcast_resumes_after_a_reconnect)
            .with(&[Control::Cut])
            .within(secs(60)),
    ]
}

async fn s5_every_broadcast_subscriber_gets_every_message(
    context: Context,
) -> Result<(), Violation> {
    let (first, second) = (context.client().await?, context.client().await?);
    let mut inboxes = vec![
        first.join(broadcast("a.>")).await?,
        first.join(broadcast("a.>")).await?,
        second.join(broadcast("a.>")).await?,
        second.join(broadcast("*.b")).await?,
    ];
    // A group beside them takes nothing away.
    let mut durable = second.join(group("g", "a.>")).await?;
    for note in notes("a.b", 0..60) {
        first.publish(&note).await?;
    }
    for inbox in &mut inboxes {
        inbox.take_all(&Ledger::expecting(0..60)).await?;
    }
    durable.take_all(&Ledger::expecting(0..60)).await?;
    // One that ends disturbs no other.
    inboxes.remove(0).leave().await?;
    first.publish(&Note::new("a.b", 60)).await?;
    for inbox in &mut inboxes {
        inbox.take_all(&Ledger::expecting([60])).await?;
    }
    Ok(())
}

async fn s5_a_broadcast_starts_when_it_is_made(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    for note in notes("a.b", 0..10) {
        client.publish(&note).await?;
    }
    let mut first = client.join(broadcast("a.b")).await?;
    for note in notes("a.b", 10..15) {
        client.publish(&note).await?;
    }
    first.take_all(&Ledger::expecting(10..15)).await?;
    first.leave().await?;
    // Nothing is remembered: the next one starts anew.
    for note in notes("a.b", 15..20) {
        client.publish(&note).await?;
    }
    let mut second = client.join(broadcast("a.b")).await?;
    client.publish(&Note::new("a.b", 20)).await?;
    second.take_all(&Ledger::expecting([20])).await
}

async fn s5_a_broadcast_leaves_nothing_behind(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(broadcast("a.b")).await?;
    ensure_eq!(client.list().await?, Vec::new(), "durable subscriptions");
    client.publish(&Note::new("a.b", 1)).await?;
    inbox.next().await?.ack().await?;
    inbox.leave().await?;
    ensure_eq!(client.list().await?, Vec::new(), "durable subscriptions");
    Ok(())
}

async fn no_leftovers(context: &Context) -> Result<(), Violation> {
    let mut last = Vec::new();
    let gone = eventually("nothing is left", || async {
        Ok(context
            .factory()
            .leftovers(context.namespace())
            .await?
            .is_empty())
    });
    if let Err(violation) = gone.await {
        last.extend(context.factory().leftovers(context.namespace()).await?);
        return Err(violation.because(format_args!("left: {last:?}")));
    }
    Ok(())
}

async fn s5_a_broadcast_leaves_nothing_on_the_broker(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inboxes = Vec::new();
    for pattern in [">", "a.b", "a.*"] {
        inboxes.push(client.join(broadcast(pattern)).await?);
    }
    for note in notes("a.b", 0..5) {
        client.publish(&note).await?;
    }
    let left = inboxes.remove(0);
    let dropped = inboxes.remove(0);
    let mut held = inboxes.remove(0);
    let tokens = held.hold(3).await?;
    left.leave().await?;
    drop(dropped);
    ack_all(tokens).await?;
    drop(held);
    client.bus.close().await?;
    no_leftovers(&context).await
}

async fn s5_a_dead_broadcast_leaves_nothing_on_the_broker(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    let lease = client.capabilities().min_lease.max(ms(300));
    let mut inbox = client.join(broadcast("a.b").lease(lease)).await?;
    client.publish(&Note::new("a.b", 1)).await?;
    let held = inbox.hold(1).await?;
    client.connection.disturb.kill().await;
    drop(held);
    no_leftovers(&context).await
}

/// A requeue to the broker would show the failed one to the other subscriber again.
async fn s5_a_failed_broadcast_is_retried_in_the_member_and_then_dropped(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut failing = client
        .join(broadcast("a.b").attempts(3).backoff(ms(20)))
        .await?;
    let mut other = client.join(broadcast("a.b")).await?;
    client.publish(&Note::new("a.b", 1)).await?;
    for attempt in 1..=3 {
        let token = failing.next().await?;
        ensure_eq!(token.number(), 1, "what comes again");
        ensure_eq!(token.attempt(), attempt, "its attempt");
        // The policy decides about a dropped one, also when it was the last attempt.
        drop(token);
    }
    failing.quiet().await?;
    client.publish(&Note::new("a.b", 2)).await?;
    let token = failing.next().await?;
    ensure_eq!((token.number(), token.attempt()), (2, 1), "what comes next");
    token.ack().await?;
    other.take_all(&Ledger::expecting([1, 2])).await?;
    let groups = client.connection.bus.dead_letters().groups().await?;
    ensure!(groups.is_empty(), "dead letters of a broadcast: {groups:?}");
    Ok(())
}

async fn s5_a_broadcast_resumes_after_a_reconnect(context: Context) -> Result<(), Violation> {
    let (publisher, subscriber) = (context.client().await?, context.client().await?);
    let ledger = Ledger::expecting(0..60);
    let pump = Pump::acking("one", subscriber.join(broadcast("a.>")).await?, &ledger);
    for note in notes("a.b", 0..20) {
        publisher.publish(&note).await?;
    }
    ledger
        .until("the first 20 came", |books| books.acked.len() == 20)
        .await?;
    subscriber.connection.disturb.cut().await;
    for note in notes("a.b", 20..40) {
        publisher.publish(&note).await?;
    }
    subscriber.connection.disturb.heal().await;
    for note in notes("a.c", 40..60) {
        publisher.publish(&note).await?;
    }
    ledger.until_all_acked().await?;
    pump.stop().await?.quiet().await?;
    ledger.exact()
}
