//! R6: dead letters are redriven.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bus_api::{
    Bus, BusClient, DeadLetterId, DeadLetterStore, Error, ErrorKind, Filter, Group, Message,
    Published, Result as BusResult,
};

use crate::case::{Case, case};
use crate::context::{Client, Context};
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::planted::bug::Bug;
use crate::planted::decorator::Planted;
use crate::probe::{
    Act, Diary, Ledger, Note, Run, broadcast, buried_numbers, group, job, notes, numbers,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(r6_redrive_reaches_only_the_subscription_that_failed),
        case!(r6_redrive_keeps_id_payload_key_and_headers),
        case!(r6_redrive_starts_the_attempts_anew),
        case!(r6_redrive_takes_what_the_filter_takes),
        case!(r6_redrive_with_an_edited_payload),
        case!(r6_a_copy_that_fails_again_is_a_new_entry),
        case!(r6_a_repeated_redrive_stores_one_copy),
        case!(r6_an_entry_stays_until_its_copy_is_stored),
        case!(r6_a_redriven_copy_waits_for_its_subscription),
    ]
}

/// The subscription `g` on `r.>` gives up these notes and is left.
async fn bury(client: &Client, notes: &[Note]) -> Result<(), Violation> {
    let crew = client
        .employ(job(group("g", "r.>")).attempts(2), &Diary::new(), |_| {
            Act::fail()
        })
        .await?;
    for note in notes {
        client.publish(note).await?;
    }
    client.until_buried("g", notes.len()).await?;
    client.until_settled("g", "r.>").await?;
    crew.shutdown().await
}

async fn r6_redrive_reaches_only_the_subscription_that_failed(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    bury(&client, &notes("r.a", 0..5)).await?;
    // Others that match the topic: another group, another pattern of the same group, a broadcast.
    let mut others = vec![client.join(broadcast("r.>")).await?];
    for (name, pattern) in [("h", "r.>"), ("g", "r.*"), ("g", ">")] {
        let mut inbox = client.join(group(name, pattern)).await?;
        inbox.take_all(&Ledger::expecting(0..5)).await?;
        others.push(inbox);
    }
    client.redrive("g", &Filter::default(), 5).await?;
    ensure_eq!(client.buried_count("g").await?, 0, "entries left");
    let mut own = client.join(group("g", "r.>")).await?;
    own.take_all(&Ledger::expecting(0..5)).await?;
    for mut other in others {
        other.quiet().await?;
    }
    // Who comes later sees the messages, and not the copies beside them.
    let mut late = client.join(group("late", "r.>")).await?;
    late.take_all(&Ledger::expecting(0..5)).await?;
    // What is settled unseen is settled.
    for (name, pattern) in [
        ("h", "r.>"),
        ("g", "r.*"),
        ("g", ">"),
        ("g", "r.>"),
        ("late", "r.>"),
    ] {
        client.until_settled(name, pattern).await?;
    }
    Ok(())
}

async fn r6_redrive_keeps_id_payload_key_and_headers(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let diary = Diary::new();
    let crew = client
        .employ(job(group("g", "r.>")).attempts(1), &diary, |_| Act::fail())
        .await?;
    let note = Note::keyed("r.a.b", "k", 7);
    client
        .publish(&note)
        .header("empty", "")
        .header("spaces", " a\nb ")
        .subject("s")
        .correlation_id("c")
        .await?;
    client.until_buried("g", 1).await?;
    client.until_settled("g", "r.>").await?;
    crew.shutdown().await?;
    client.redrive("g", &Filter::default(), 1).await?;
    let crew = client
        .employ(job(group("g", "r.>")), &diary, |_| Act::Done)
        .await?;
    diary.until_done([7]).await?;
    let runs = diary.runs_of(7);
    ensure_eq!(runs.len(), 2, "calls of the handler");
    let (first, second) = (&runs[0].message, &runs[1].message);
    ensure_eq!(second.metadata, first.metadata, "the metadata of the copy");
    ensure_eq!(second.topic, first.topic, "the topic of the copy");
    ensure_eq!(second.key, first.key, "the key of the copy");
    let headers = |run: &Run| -> Vec<(String, String)> {
        run.message
            .headers
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    ensure_eq!(
        headers(&runs[1]),
        headers(&runs[0]),
        "the headers of the copy"
    );
    ensure!(
        second.payload == first.payload,
        "the payload of the copy differs"
    );
    crew.shutdown().await
}

async fn r6_redrive_starts_the_attempts_anew(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    bury(&client, &notes("r.a", [1])).await?;
    client.redrive("g", &Filter::default(), 1).await?;
    let diary = Diary::new();
    let crew = client
        .employ(job(group("g", "r.>")).attempts(3), &diary, |_| Act::fail())
        .await?;
    client.until_buried("g", 1).await?;
    ensure_eq!(diary.attempts_of(1), vec![1, 2, 3], "attempts at the copy");
    crew.shutdown().await
}

async fn r6_redrive_takes_what_the_filter_takes(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    bury(&client, &[notes("r.a", 0..4), notes("r.b", 4..8)].concat()).await?;
    let dead = client.dead_letters("g");
    let mut inbox = client.join(group("g", "r.>")).await?;
    let entries = client.buried("g").await?;
    let Some(one) = entries
        .iter()
        .find(|entry| entry.message.topic.as_str() == "r.a")
    else {
        return Err(Violation::new("no dead letter of r.a"));
    };
    client
        .redrive("g", &Filter::default().id(one.id), 1)
        .await?;
    let token = inbox.next().await?;
    ensure_eq!(
        token.number(),
        Note::of(&one.message)?.number,
        "the redriven one"
    );
    token.ack().await?;
    client
        .redrive("g", &Filter::default().topic("r.b"), 4)
        .await?;
    let held = inbox.hold(4).await?;
    ensure_eq!(numbers(&held), vec![4, 5, 6, 7], "redriven by topic");
    crate::probe::ack_all(held).await?;
    let report = dead.redrive(&Filter::default()).limit(2).await?;
    ensure_eq!(report.done, 2, "redriven of a limit of 2");
    let held = inbox.hold(2).await?;
    crate::probe::ack_all(held).await?;
    ensure_eq!(client.buried("g").await?.len(), 1, "entries left");
    inbox.quiet().await
}

async fn r6_redrive_with_an_edited_payload(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    bury(&client, &notes("r.a", [1])).await?;
    let entry = client.buried("g").await?[0].clone();
    let dead = client.dead_letters("g");
    let repaired = Note::new("r.a", 2);
    dead.redrive_edited(entry.id, repaired.raw()?.payload)
        .await?;
    let mut inbox = client.join(group("g", "r.>")).await?;
    let token = inbox.next().await?;
    ensure_eq!(token.note(), &repaired, "the payload of the copy");
    ensure_eq!(
        token.envelope().metadata.id,
        entry.message.metadata.id,
        "the id of the copy"
    );
    ensure_eq!(token.attempt(), 1, "the attempt");
    token.ack().await?;
    ensure_eq!(client.buried_count("g").await?, 0, "entries left");
    match dead.redrive_edited(entry.id, repaired.raw()?.payload).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        other => {
            return Err(Violation::new(format_args!(
                "redriving an entry that is gone gave {other:?}"
            )));
        }
    }
    inbox.quiet().await
}

async fn r6_a_copy_that_fails_again_is_a_new_entry(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    bury(&client, &notes("r.a", [1])).await?;
    let crew = client
        .employ(job(group("g", "r.>")).attempts(1), &Diary::new(), |_| {
            Act::fail()
        })
        .await?;
    let mut ids: Vec<DeadLetterId> = Vec::new();
    for generation in 0..4 {
        let entry = client.until_buried("g", 1).await?[0].clone();
        ensure_eq!(entry.generation, generation, "the generation");
        ensure!(
            !ids.contains(&entry.id),
            "the entry of redrive {generation} falls on an old one"
        );
        ids.push(entry.id);
        client.redrive("g", &Filter::default(), 1).await?;
        crate::probe::eventually("the copy has failed again", async || {
            let entries = client.buried("g").await?;
            Ok(entries
                .first()
                .is_some_and(|entry| !ids.contains(&entry.id)))
        })
        .await?;
    }
    let entry = client.until_buried("g", 1).await?[0].clone();
    ensure_eq!(
        buried_numbers(&[entry])?,
        vec![1],
        "the dead letter in the end"
    );
    crew.shutdown().await
}

/// The process dies, as it were, after the broker has the copies and before the entries are removed.
#[derive(Debug, Default)]
struct RemovesFail(AtomicBool);

#[async_trait]
impl Bug for RemovesFail {
    async fn remove(
        &self,
        store: &dyn DeadLetterStore,
        group: &Group,
        ids: &[DeadLetterId],
    ) -> BusResult<u64> {
        if self.0.load(Ordering::Relaxed) {
            return store.remove(group, ids).await;
        }
        Err(Error::new(ErrorKind::Unavailable, "died before removing"))
    }
}

async fn r6_a_repeated_redrive_stores_one_copy(context: Context) -> Result<(), Violation> {
    const ALL: u64 = 30;
    let client = context.client().await?;
    bury(&client, &notes("r.a", 0..ALL)).await?;
    let fault = Arc::new(RemovesFail::default());
    let disturbed = BusClient::new(
        Arc::new(Planted::new(client.connection.bus.clone(), fault.clone())),
        client.settings().clone(),
    );
    let report = disturbed
        .dead_letters("g")
        .redrive(&Filter::default())
        .await?;
    ensure_eq!(
        report.failed.len(),
        ALL as usize,
        "entries reported as not removed"
    );
    ensure_eq!(
        client.buried("g").await?.len(),
        ALL as usize,
        "entries after the crash"
    );
    fault.0.store(true, Ordering::Relaxed);
    let report = disturbed
        .dead_letters("g")
        .redrive(&Filter::default())
        .await?;
    ensure_eq!(report.done, ALL, "redriven by the second try");
    ensure_eq!(client.buried("g").await?.len(), 0, "entries left");
    let copies = if client.capabilities().dedup { 1 } else { 2 };
    let ledger = Ledger::expecting((0..copies).flat_map(|_| 0..ALL));
    let mut inbox = client.join(group("g", "r.>")).await?;
    while ledger.read(|books| (books.deliveries.len() as u64) < copies * ALL) {
        let token = inbox.next().await?;
        ledger.deliver("one", &token);
        token.ack().await?;
    }
    inbox.quiet().await?;
    ledger.exact()
}

/// The broker takes no copy of every third entry.
#[derive(Debug, Default)]
struct CopiesFail;

#[async_trait]
impl Bug for CopiesFail {
    async fn publish(&self, bus: &dyn Bus, batch: Vec<Arc<Message>>) -> Vec<BusResult<Published>> {
        let mut results = Vec::with_capacity(batch.len());
        for message in batch {
            let number = Note::of(&message).map_or(0, |note| note.number);
            if message.targeted.is_some() && number.is_multiple_of(3) {
                results.push(Err(Error::new(ErrorKind::PermissionDenied, "not this one")));
            } else {
                results.extend(bus.publish(vec![message]).await);
            }
        }
        results
    }
}

async fn r6_an_entry_stays_until_its_copy_is_stored(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    bury(&client, &notes("r.a", 0..9)).await?;
    let disturbed = BusClient::new(
        Arc::new(Planted::new(
            client.connection.bus.clone(),
            Arc::new(CopiesFail),
        )),
        client.settings().clone(),
    );
    let report = disturbed
        .dead_letters("g")
        .redrive(&Filter::default())
        .await?;
    ensure_eq!(
        (report.matched, report.done, report.failed.len()),
        (9, 6, 3),
        "matched, redriven and failed"
    );
    let left = client.buried("g").await?;
    ensure_eq!(
        buried_numbers(&left)?,
        vec![0, 3, 6],
        "entries whose copy was refused"
    );
    let mut inbox = client.join(group("g", "r.>")).await?;
    inbox.take_all(&Ledger::expecting([1, 2, 4, 5, 7, 8])).await
}

/// Nobody is there when the copy is stored; it is not lost to who comes.
async fn r6_a_redriven_copy_waits_for_its_subscription(context: Context) -> Result<(), Violation> {
    let (client, operator) = (context.client().await?, context.client().await?);
    bury(&client, &notes("r.a", 0..3)).await?;
    client.close().await?;
    operator.redrive("g", &Filter::default(), 3).await?;
    ensure_eq!(
        operator.info(&group("g", "r.>")).await?.lag,
        3,
        "unsettled copies"
    );
    let mut inbox = operator.join(group("g", "r.>")).await?;
    inbox.take_all(&Ledger::expecting(0..3)).await
}
