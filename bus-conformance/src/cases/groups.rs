//! S3, S4 and S6: who gets what.

use futures_util::future::join_all;

use crate::case::{Case, case};
use crate::context::{Client, Context};
use crate::factory::Control;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Ledger, Note, Pump, QUIET, group, notes, secs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(s3_fault_free_runs_have_no_duplicate).within(secs(60)),
        case!(s3_members_that_join_and_leave_in_order_cause_no_duplicate).within(secs(90)),
        case!(s3_members_of_one_connection_compete_too),
        case!(s4_each_group_gets_every_message),
        case!(s4_each_pattern_of_a_group_gets_its_messages),
        case!(s4_settling_in_one_pattern_settles_no_other),
        case!(s6_joining_and_leaving_under_load_loses_nothing).within(secs(90)),
        case!(s6_dying_under_load_loses_nothing)
            .with(&[Control::Kill])
            .within(secs(90)),
    ]
}

/// Publishes `count` notes in windows, from `first` on, and enters each one when it is confirmed.
async fn publish(
    client: &Client,
    ledger: &Ledger,
    topic: &str,
    first: u64,
    count: u64,
) -> Result<(), Violation> {
    let batch = notes(topic, first..first + count);
    for (note, confirmed) in batch.iter().zip(client.publish_batch(&batch).await) {
        confirmed?;
        ledger.publish([note.number]);
    }
    Ok(())
}

/// Nothing comes any more to members that still listen, and what came is exact.
async fn exact_after_silence(ledger: &Ledger) -> Result<(), Violation> {
    tokio::time::sleep(QUIET).await;
    ledger.exact()
}

/// Counts, not sets: a member that gets a message of another's once too often is noticed.
async fn s3_fault_free_runs_have_no_duplicate(context: Context) -> Result<(), Violation> {
    let ledger = Ledger::new();
    let mut pumps = Vec::new();
    for member in 0..4 {
        let inbox = context.client().await?.join(group("g", "a.>")).await?;
        pumps.push(Pump::acking(format!("m{member}"), inbox, &ledger));
    }
    let publishers = (0..4).map(|publisher| {
        let (context, ledger) = (context.clone(), ledger.clone());
        async move {
            let client = context.client().await?;
            for round in 0..3 {
                let first = publisher * 1000 + round * 50;
                let topic = format!("a.{publisher}");
                publish(&client, &ledger, &topic, first, 50).await?;
            }
            Ok::<_, Violation>(())
        }
    });
    for publisher in join_all(publishers).await {
        publisher?;
    }
    ledger.until_all_acked().await?;
    exact_after_silence(&ledger).await?;
    for pump in pumps {
        pump.leave().await?;
    }
    ledger.exact()
}

async fn s3_members_that_join_and_leave_in_order_cause_no_duplicate(
    context: Context,
) -> Result<(), Violation> {
    let ledger = Ledger::new();
    let publisher = context.client().await?;
    let join = |name: String| {
        let (context, ledger) = (context.clone(), ledger.clone());
        async move {
            let inbox = context
                .client()
                .await?
                .join(group("g", "a.b").in_flight(20))
                .await?;
            Ok::<_, Violation>(Pump::acking(name, inbox, &ledger))
        }
    };
    let mut pumps = vec![join("m0".to_owned()).await?];
    for round in 0..4 {
        publish(&publisher, &ledger, "a.b", round * 100, 50).await?;
        pumps.push(join(format!("m{}", round + 1)).await?);
        publish(&publisher, &ledger, "a.b", round * 100 + 50, 50).await?;
        // Leaves in the middle of it: what it has fetched and not started is handed back.
        pumps.swap_remove(0).leave().await?;
    }
    ledger.until_all_acked().await?;
    exact_after_silence(&ledger).await?;
    for pump in pumps {
        pump.leave().await?;
    }
    let mut last = context.client().await?.join(group("g", "a.b")).await?;
    last.quiet().await?;
    ledger.exact()
}

async fn s3_members_of_one_connection_compete_too(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let ledger = Ledger::new();
    let mut pumps = Vec::new();
    for member in 0..3 {
        let inbox = client.join(group("g", "a.*").in_flight(8)).await?;
        pumps.push(Pump::acking(format!("m{member}"), inbox, &ledger));
    }
    publish(&client, &ledger, "a.b", 0, 150).await?;
    ledger.until_all_acked().await?;
    exact_after_silence(&ledger).await?;
    for pump in pumps {
        pump.leave().await?;
    }
    ledger.exact()
}

async fn s4_each_group_gets_every_message(context: Context) -> Result<(), Violation> {
    let (publisher, subscriber) = (context.client().await?, context.client().await?);
    let mut books = Vec::new();
    // Names of which one starts with the other, and ones that differ in case only.
    for name in ["a", "a-b", "A", "b"] {
        let ledger = Ledger::expecting(0..50);
        // Two members each.
        let mut pumps = Vec::new();
        for client in [&publisher, &subscriber] {
            let inbox = client.join(group(name, "t.>")).await?;
            pumps.push(Pump::acking(name, inbox, &ledger));
        }
        books.push((name, ledger, pumps));
    }
    for note in notes("t.x", 0..50) {
        publisher.publish(&note).await?;
    }
    for (name, ledger, pumps) in books {
        ledger
            .until_all_acked()
            .await
            .map_err(|violation| violation.because(format_args!("group {name}")))?;
        exact_after_silence(&ledger).await?;
        for pump in pumps {
            pump.leave().await?;
        }
        ledger.exact()?;
    }
    Ok(())
}

async fn s4_each_pattern_of_a_group_gets_its_messages(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inboxes = Vec::new();
    for pattern in [">", "a.>", "a.*", "a.b", "*.b"] {
        inboxes.push(client.join(group("g", pattern)).await?);
    }
    for note in notes("a.b", 0..10) {
        client.publish(&note).await?;
    }
    for mut inbox in inboxes {
        inbox.take_all(&Ledger::expecting(0..10)).await?;
        inbox.leave().await?;
    }
    let mut known: Vec<String> = client
        .list()
        .await?
        .iter()
        .map(|info| info.id.pattern.to_string())
        .collect();
    known.sort_unstable();
    ensure_eq!(known, vec!["*.b", ">", "a.*", "a.>", "a.b"], "patterns");
    Ok(())
}

/// State that is kept per group and message, instead of per subscription, mixes these.
async fn s4_settling_in_one_pattern_settles_no_other(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut wide = client.join(group("g", "a.>")).await?;
    let mut exact = client.join(group("g", "a.b")).await?;
    client.publish(&Note::new("a.b", 1)).await?;
    wide.next().await?.ack().await?;
    let token = exact.next().await?;
    ensure_eq!(token.attempt(), 1, "the attempt of the other pattern");
    token.nack().await?;
    wide.quiet().await?;
    let token = exact.next().await?;
    ensure_eq!(token.attempt(), 2, "the attempt after its own nack");
    token.ack().await?;
    exact.quiet().await?;

    client.publish(&Note::new("a.b", 2)).await?;
    exact.next().await?.nack_after(secs(3600)).await?;
    let token = wide.next().await?;
    ensure_eq!(token.attempt(), 1, "the attempt of the other pattern");
    token.ack().await
}

async fn churn(context: &Context, kill: bool) -> Result<(Ledger, u64), Violation> {
    let ledger = Ledger::new();
    let publisher = context.client().await?;
    // Long enough that a machine with too much to do does not look like a dead member.
    let lease = publisher.capabilities().min_lease.max(secs(2));
    let want = group("g", "a.>").in_flight(16).lease(lease);
    let stay = context.client().await?.join(want.clone()).await?;
    let stay = Pump::acking("stay", stay, &ledger);
    for round in 0..4 {
        let client = context.client().await?;
        let pump = Pump::acking(
            format!("m{round}"),
            client.join(want.clone()).await?,
            &ledger,
        );
        publish(&publisher, &ledger, "a.b", round * 200, 100).await?;
        if kill {
            client.connection.disturb.kill().await;
            pump.abort().await;
        } else {
            pump.leave().await?;
        }
        publish(&publisher, &ledger, "a.c", round * 200 + 100, 100).await?;
    }
    // An ack that the killed member had confirmed and not yet entered must not be waited for.
    ledger
        .until("everything is handed over", |books| {
            books.published.len() == 800 && books.losses().is_empty()
        })
        .await?;
    stay.leave().await?;
    let duplicates = ledger.no_loss()?;
    Ok((ledger, duplicates))
}

async fn s6_joining_and_leaving_under_load_loses_nothing(
    context: Context,
) -> Result<(), Violation> {
    let (ledger, duplicates) = churn(&context, false).await?;
    ensure!(
        duplicates == 0,
        "in order, so without duplicates: {}",
        ledger.read(crate::probe::Books::summary)
    );
    Ok(())
}

async fn s6_dying_under_load_loses_nothing(context: Context) -> Result<(), Violation> {
    // Duplicates are what the dead had in their hands or acked without an answer; what had a confirmed
    // ack is not among them, which the books have checked.
    let (ledger, duplicates) = churn(&context, true).await?;
    ensure!(
        duplicates < 400,
        "{duplicates} duplicates of four deaths: {}",
        ledger.read(crate::probe::Books::summary)
    );
    Ok(())
}
