//! A1 and A2: what an ack means.

use crate::case::{Case, case};
use crate::context::Context;
use crate::factory::Control;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Ledger, Note, Token, ack_all, group, ms, notes, secs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(a1_a_confirmed_ack_is_final),
        case!(a1_a_confirmed_ack_survives_its_member)
            .with(&[Control::Kill])
            .within(secs(60)),
        case!(a1_a_confirmed_ack_survives_the_broker)
            .with(&[Control::Restart])
            .within(secs(90)),
        case!(a1_of_two_members_one_is_confirmed_after_a_restart)
            .with(&[Control::Restart])
            .within(secs(90)),
        case!(a1_an_ack_is_confirmed_once_the_link_is_back)
            .with(&[Control::Cut])
            .within(secs(60)),
        case!(a2_acks_come_in_any_order),
        case!(a2_an_unsettled_message_holds_up_no_other),
        case!(a2_acks_in_any_order_survive_a_death)
            .with(&[Control::Kill])
            .within(secs(60)),
    ]
}

/// Those that `keep` says, and the rest.
fn split(tokens: Vec<Token>, keep: impl Fn(u64) -> bool) -> (Vec<Token>, Vec<Token>) {
    tokens.into_iter().partition(|token| keep(token.number()))
}

/// Every member that comes later gets exactly what was not acked.
async fn a1_a_confirmed_ack_is_final(context: Context) -> Result<(), Violation> {
    let want = group("g", "a.>").backoff(ms(10));
    let publisher = context.client().await?;
    for note in notes("a.b", 0..60) {
        publisher.publish(&note).await?;
    }
    let mut left: Vec<u64> = (0..60).collect();
    for round in 0..3 {
        let client = context.client().await?;
        let mut inbox = client.join(want.clone()).await?;
        let held = inbox.hold(left.len()).await?;
        ensure_eq!(
            crate::probe::numbers(&held),
            left,
            "what comes in round {round}"
        );
        let (acked, dropped) = split(held, |number| number % 5 == round);
        for token in acked {
            token.ack().await?;
        }
        left.retain(|number| number % 5 != round);
        drop(dropped);
        inbox.leave().await?;
        client.bus.close().await?;
    }
    let mut inbox = publisher.join(want).await?;
    inbox.take_all(&Ledger::expecting(left)).await
}

async fn a1_a_confirmed_ack_survives_its_member(context: Context) -> Result<(), Violation> {
    let (first, second) = (context.client().await?, context.client().await?);
    let lease = first.capabilities().min_lease.max(ms(300));
    let want = group("g", "a.b").lease(lease);
    for note in notes("a.b", 0..40) {
        first.publish(&note).await?;
    }
    let mut inbox = first.join(want.clone()).await?;
    let (acked, held) = split(inbox.hold(40).await?, |number| number < 25);
    ack_all(acked).await?;
    first.connection.disturb.kill().await;
    let mut inbox = second.join(want).await?;
    inbox.take_all(&Ledger::expecting(25..40)).await?;
    drop(held);
    Ok(())
}

async fn a1_a_confirmed_ack_survives_the_broker(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "a.b").lease(client.capabilities().min_lease.max(secs(1)));
    for note in notes("a.b", 0..40) {
        client.publish(&note).await?;
    }
    let mut inbox = client.join(want.clone()).await?;
    let (acked, held) = split(inbox.hold(40).await?, |number| number % 2 == 0);
    ack_all(acked).await?;
    client.until_durable().await;
    context.factory().stop_broker().await?;
    context.factory().start_broker().await?;
    drop(held);
    inbox.leave().await?;
    let mut inbox = context.client().await?.join(want).await?;
    let odd = (0..40).filter(|number| number % 2 == 1);
    inbox.take_all(&Ledger::expecting(odd)).await
}

/// A broker that was killed may have forgotten who has what, and give it to another member. From then on it is
/// that one's, and an ack of the first is not confirmed: the message would come after its confirmed ack.
async fn a1_of_two_members_one_is_confirmed_after_a_restart(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "a.b").in_flight(1);
    let mut inbox = client.join(want.clone()).await?;
    client.publish(&Note::new("a.b", 1)).await?;
    let held = inbox.next().await?;
    context.factory().stop_broker().await?;
    context.factory().start_broker().await?;
    let mut other = context.client().await?.join(want).await?;
    match tokio::time::timeout(secs(3), other.next()).await {
        Ok(again) => {
            let again = again?;
            let confirmed = held.ack().await;
            ensure!(
                confirmed.is_err(),
                "an ack was confirmed of what another member had got meanwhile"
            );
            again.ack().await?;
        }
        Err(_) => held.ack().await?,
    }
    inbox.quiet().await?;
    other.quiet().await
}

/// An ack that is requested while the broker is away waits for it instead of pretending (L3).
async fn a1_an_ack_is_confirmed_once_the_link_is_back(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    for note in notes("a.b", 0..2) {
        client.publish(&note).await?;
    }
    let mut inbox = client.join(group("g", "a.b")).await?;
    let mut held = inbox.hold(2).await?;
    client.connection.disturb.cut().await;
    let last = held.pop();
    let mut acking = tokio::spawn(ack_all(last));
    let early = tokio::time::timeout(crate::probe::QUIET, &mut acking).await;
    client.connection.disturb.heal().await;
    if early.is_ok() {
        return Err(Violation::new("an ack was confirmed through a cut link"));
    }
    crate::probe::within(crate::probe::PATIENCE, "the ack", acking)
        .await?
        .map_err(Violation::new)??;
    ack_all(held).await?;
    inbox.quiet().await?;
    inbox.leave().await?;
    let mut inbox = context.client().await?.join(group("g", "a.b")).await?;
    inbox.quiet().await
}

async fn a2_acks_come_in_any_order(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "a.b").backoff(ms(10));
    for note in notes("a.b", 0..30) {
        client.publish(&note).await?;
    }
    let mut inbox = client.join(want.clone()).await?;
    let (acked, held) = split(inbox.hold(30).await?, |number| number % 2 == 0);
    // The last ones first, and the odd ones before them never.
    for token in acked.into_iter().rev() {
        token.ack().await?;
    }
    drop(held);
    inbox.leave().await?;
    let mut inbox = context.client().await?.join(want).await?;
    let odd = (0..30).filter(|number| number % 2 == 1);
    inbox.take_all(&Ledger::expecting(odd)).await
}

async fn a2_an_unsettled_message_holds_up_no_other(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "a.b").in_flight(8);
    for note in notes("a.b", 0..120) {
        client.publish(&note).await?;
    }
    let mut inbox = client.join(want.clone()).await?;
    let first = inbox.next().await?;
    let rest = Ledger::expecting((0..120).filter(|number| *number != first.number()));
    inbox.take_all(&rest).await?;
    let number = first.number();
    first.ack().await?;
    inbox.leave().await?;
    let mut inbox = client.join(want).await?;
    inbox
        .quiet()
        .await
        .map_err(|violation| violation.because(format_args!("{number} was acked last")))
}

async fn a2_acks_in_any_order_survive_a_death(context: Context) -> Result<(), Violation> {
    let (first, second) = (context.client().await?, context.client().await?);
    let lease = first.capabilities().min_lease.max(ms(300));
    let want = group("g", "a.b").lease(lease);
    for note in notes("a.b", 0..30) {
        first.publish(&note).await?;
    }
    let mut inbox = first.join(want.clone()).await?;
    let (acked, held) = split(inbox.hold(30).await?, |number| number % 3 != 0);
    for token in acked.into_iter().rev() {
        token.ack().await?;
    }
    first.connection.disturb.kill().await;
    let mut inbox = second.join(want).await?;
    let thirds = (0..30).filter(|number| number % 3 == 0);
    inbox.take_all(&Ledger::expecting(thirds)).await?;
    drop(held);
    Ok(())
}
