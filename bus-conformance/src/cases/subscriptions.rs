//! S8: durable subscriptions are listed, reset and deleted.

use bus_api::{ErrorKind, Result as BusResult, Start};

use crate::case::{Case, case};
use crate::context::Context;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{
    Ledger, Note, Pump, ack_all, broadcast, eventually, group, let_the_clock_tick, notes,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(s8_durable_subscriptions_are_listed),
        case!(s8_a_reset_moves_the_position),
        case!(s8_a_reset_forgets_records_and_delays),
        case!(s8_live_members_refuse_unless_forced),
        case!(s8_a_forced_reset_moves_live_members),
        case!(s8_a_deleted_subscription_is_gone),
        case!(s8_members_of_a_deleted_subscription_end_with_not_found),
        case!(s8_an_unknown_subscription_is_not_found),
    ]
}

async fn s8_durable_subscriptions_are_listed(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    ensure_eq!(client.list().await?, Vec::new(), "subscriptions at first");
    let wants = [group("a", "x.>"), group("a", "x.y"), group("b", ">")];
    let mut inboxes = Vec::new();
    // Not in the order in which they are listed.
    for want in wants.iter().rev() {
        inboxes.push(client.join(want.clone()).await?);
    }
    let _unlisted = client.join(broadcast(">")).await?;
    let ids: Vec<String> = client
        .list()
        .await?
        .iter()
        .map(|info| info.id.to_string())
        .collect();
    ensure_eq!(ids, vec!["a on x.>", "a on x.y", "b on >"], "listed");

    for note in notes("x.y", 0..10) {
        client.publish(&note).await?;
    }
    let first = inboxes.pop().ok_or_else(|| Violation::new("no inbox"))?;
    let mut first = first;
    let mut held = first.hold(10).await?;
    ack_all(held.split_off(4)).await?;
    let want = &wants[0];
    eventually("four are unsettled", || async {
        let info = client.info(want).await?;
        Ok(info.lag == 4 && info.pending == 4 && info.members == 1 && info.oldest.is_some())
    })
    .await?;
    ack_all(held).await?;
    first.leave().await?;
    eventually("nothing is unsettled and nobody lives", || async {
        let info = client.info(want).await?;
        Ok(info.lag == 0 && info.pending == 0 && info.members == 0 && info.oldest.is_none())
    })
    .await?;
    let info = client.info(&wants[2]).await?;
    ensure_eq!(info.lag, 10, "lag of one that took nothing");
    ensure_eq!(info.dropped, 0, "dropped");
    Ok(())
}

async fn s8_a_reset_moves_the_position(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "a.b");
    // Other logs start at the position's store time, which the message before it must not share.
    for numbers in [0..6, 6..10] {
        for note in notes("a.b", numbers) {
            client.publish(&note).await?;
        }
        let_the_clock_tick().await;
    }
    let mut inbox = client.join(want.clone()).await?;
    let held = inbox.hold(10).await?;
    let position = held
        .iter()
        .find(|token| token.number() == 6)
        .map(|token| token.envelope().position.clone())
        .ok_or_else(|| Violation::new("message 6 is missing"))?;
    ack_all(held).await?;
    inbox.leave().await?;
    for (start, expected) in [
        (Start::Earliest, 0..10),
        (Start::Position(position), 6..10),
        (Start::Latest, 10..10),
        (Start::Time(std::time::UNIX_EPOCH), 0..10),
    ] {
        client.reset(&want, &start, false).await?;
        // Wherever the member wants to start: it was reset on purpose.
        let mut inbox = client.join(want.clone().latest()).await?;
        inbox
            .take_all(&Ledger::expecting(expected))
            .await
            .map_err(|violation| violation.because(format_args!("reset to {start:?}")))?;
        inbox.leave().await?;
    }
    Ok(())
}

async fn s8_a_reset_forgets_records_and_delays(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "a.b");
    client.publish(&Note::new("a.b", 1)).await?;
    let mut inbox = client.join(want.clone()).await?;
    inbox.next().await?.nack().await?;
    let token = inbox.next().await?;
    ensure_eq!(token.attempt(), 2, "the attempt before the reset");
    token.nack_after(crate::probe::secs(3600)).await?;
    inbox.leave().await?;
    client.reset(&want, &Start::Earliest, false).await?;
    let mut inbox = client.join(want).await?;
    let token = inbox.next().await?;
    ensure_eq!(token.attempt(), 1, "the attempt after the reset");
    token.ack().await?;
    inbox.quiet().await
}

fn refused(result: BusResult<()>, kind: ErrorKind, what: &str) -> Result<(), Violation> {
    match result {
        Ok(()) => Err(Violation::new(format_args!("{what} was not refused"))),
        Err(error) => {
            ensure_eq!(error.kind(), kind, "{what}: {error}");
            Ok(())
        }
    }
}

async fn s8_live_members_refuse_unless_forced(context: Context) -> Result<(), Violation> {
    let (member, operator) = (context.client().await?, context.client().await?);
    let want = group("g", "a.b");
    let mut inbox = member.join(want.clone()).await?;
    member.publish(&Note::new("a.b", 1)).await?;
    inbox.take_all(&Ledger::expecting([1])).await?;
    let argument = ErrorKind::InvalidArgument;
    refused(
        operator.reset(&want, &Start::Earliest, false).await,
        argument,
        "a reset under a live member",
    )?;
    refused(
        operator.delete(&want, false).await,
        argument,
        "deleting under a live member",
    )?;
    inbox.quiet().await?;
    member.publish(&Note::new("a.b", 2)).await?;
    inbox.take_all(&Ledger::expecting([2])).await?;
    inbox.leave().await?;
    operator.delete(&want, false).await?;
    Ok(())
}

async fn s8_a_forced_reset_moves_live_members(context: Context) -> Result<(), Violation> {
    let (member, operator) = (context.client().await?, context.client().await?);
    let want = group("g", "a.b");
    let ledger = Ledger::expecting(0..10);
    let pump = Pump::acking("one", member.join(want.clone()).await?, &ledger);
    for note in notes("a.b", 0..10) {
        member.publish(&note).await?;
    }
    ledger.until_all_acked().await?;
    operator.reset(&want, &Start::Earliest, true).await?;
    ledger.publish(0..10);
    ledger
        .until("everything comes once more", |books| {
            books.acked.values().all(|acks| *acks == 2)
        })
        .await?;
    pump.stop().await?.quiet().await?;
    ledger.exact()
}

async fn s8_a_deleted_subscription_is_gone(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "a.b");
    let mut inbox = client.join(want.clone()).await?;
    for note in notes("a.b", 0..5) {
        client.publish(&note).await?;
    }
    inbox.take_all(&Ledger::expecting(0..5)).await?;
    inbox.leave().await?;
    // A neighbour of the same group and one of the same pattern stay.
    for other in [group("g", "a.*"), group("h", "a.b")] {
        client.join(other).await?.leave().await?;
    }
    client.delete(&want, false).await?;
    let ids: Vec<String> = client
        .list()
        .await?
        .iter()
        .map(|info| info.id.to_string())
        .collect();
    ensure_eq!(ids, vec!["g on a.*", "h on a.b"], "what is left");
    // Made again it is a new one, with the start that is asked for.
    let mut inbox = client.join(want).await?;
    inbox.take_all(&Ledger::expecting(0..5)).await
}

/// A member that finds its subscription gone and makes a new one would go on as if nothing had happened.
async fn s8_members_of_a_deleted_subscription_end_with_not_found(
    context: Context,
) -> Result<(), Violation> {
    let (member, operator) = (context.client().await?, context.client().await?);
    let want = group("g", "a.b");
    let mut first = member.join(want.clone()).await?;
    let mut second = operator.join(want.clone()).await?;
    member.publish(&Note::new("a.b", 1)).await?;
    operator.delete(&want, true).await?;
    for inbox in [&mut first, &mut second] {
        let error = inbox.end().await?;
        ensure_eq!(error.kind(), ErrorKind::NotFound, "the end: {error}");
    }
    member.publish(&Note::new("a.b", 2)).await?;
    ensure!(
        operator.list().await?.is_empty(),
        "the deleted subscription came back"
    );
    Ok(())
}

async fn s8_an_unknown_subscription_is_not_found(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    client.join(group("g", "a.b")).await?.leave().await?;
    for want in [group("g", "a.c"), group("h", "a.b"), group("g", "a.*")] {
        for force in [false, true] {
            let kind = ErrorKind::NotFound;
            refused(
                client.reset(&want, &Start::Earliest, force).await,
                kind,
                "a reset of nothing",
            )?;
            refused(client.delete(&want, force).await, kind, "deleting nothing")?;
        }
    }
    ensure_eq!(client.list().await?.len(), 1, "subscriptions");
    Ok(())
}
