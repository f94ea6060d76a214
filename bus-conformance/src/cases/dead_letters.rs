//! R2, R3 and R5: how a message becomes a dead letter, and what is kept of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bus_api::{Failure, Raw, Start, SubscriptionId, Topic, clock};
use bytes::Bytes;
use futures_util::future::try_join;

use crate::case::{Case, case};
use crate::context::{Client, Context};
use crate::factory::Control;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{
    Act, Diary, Job, Note, Run, buried_numbers, eventually, group, job, ms, notes, secs,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(r2_after_the_last_attempt_it_is_a_dead_letter),
        case!(r2_the_entry_is_there_before_the_message_is_settled),
        case!(r2_a_crash_in_between_loses_nothing)
            .with(&[Control::Kill])
            .within(secs(120)),
        case!(r2_an_entry_written_twice_is_one),
        case!(r2_each_pattern_has_its_own_entry),
        case!(r2_a_recreated_log_makes_new_entries).with(&[Control::LoseLog]),
        case!(r3_what_cannot_be_decoded_is_kept_byte_for_byte),
        case!(r5_a_dead_letter_keeps_everything),
        case!(r5_a_long_error_is_cut_at_4_kib),
        case!(r5_the_largest_message_is_kept_with_its_reason),
    ]
}

/// Every second note fails for good.
fn odd_ones_fail(run: &Run) -> Act {
    if run.number % 2 == 1 {
        Act::fail()
    } else {
        Act::Done
    }
}

async fn publish_all(client: &Client, notes: &[Note]) -> Result<(), Violation> {
    for result in client.publish_batch(notes).await {
        result?;
    }
    Ok(())
}

async fn r2_after_the_last_attempt_it_is_a_dead_letter(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let crew = client
        .employ(job(group("g", "r.>")).attempts(2), &diary, odd_ones_fail)
        .await?;
    publish_all(&client, &notes("r.a", 0..20)).await?;
    let entries = client.until_buried("g", 10).await?;
    client.until_settled("g", "r.>").await?;
    let odd: Vec<u64> = (0..20).filter(|number| number % 2 == 1).collect();
    ensure_eq!(buried_numbers(&entries)?, odd, "dead letters");
    let ids: BTreeSet<String> = entries.iter().map(|entry| entry.id.to_string()).collect();
    ensure_eq!(ids.len(), 10, "identities of ten entries");
    diary.exactly((0..20).filter(|number| number % 2 == 0))?;
    crew.shutdown().await?;
    // Settled for good: a later member of the group sees none of it.
    let mut inbox = client.join(group("g", "r.>")).await?;
    inbox.quiet().await?;
    ensure_eq!(
        client.buried("g").await?.len(),
        10,
        "dead letters in the end"
    );
    inbox.leave().await
}

/// Who settles first and writes afterwards is seen between the two: fewer messages unsettled than entries
/// missing.
async fn r2_the_entry_is_there_before_the_message_is_settled(
    context: Context,
) -> Result<(), Violation> {
    const ALL: u64 = 60;
    let (client, watcher) = (context.client().await?, context.client().await?);
    let diary = Diary::new();
    // The position exists before anything is published.
    client.join(group("g", "r.>")).await?.leave().await?;
    publish_all(&client, &notes("r.a", 0..ALL)).await?;
    let job = job(group("g", "r.>")).concurrency(4).attempts(1);
    let crew = client
        .employ(job, &diary, |_| Act::Fail("no".into()))
        .await?;
    eventually("everything is settled", async || {
        let lag = watcher.info(&group("g", "r.>")).await?.lag;
        let entries = watcher.buried_count("g").await?;
        ensure!(
            entries + lag >= ALL,
            "{} of {ALL} messages are settled and there are {entries} entries",
            ALL - lag
        );
        Ok(lag == 0)
    })
    .await?;
    client.until_buried("g", ALL as usize).await?;
    crew.shutdown().await
}

/// The process dies at different moments while it gives messages up.
async fn r2_a_crash_in_between_loses_nothing(context: Context) -> Result<(), Violation> {
    const ALL: u64 = 40;
    let (client, diary) = (context.client().await?, Diary::new());
    let lease = client.capabilities().min_lease.max(secs(1));
    let want = group("g", "r.>").lease(lease);
    client.join(want.clone()).await?.leave().await?;
    publish_all(&client, &notes("r.a", 0..ALL)).await?;
    for (victim, calls) in [("first", 1), ("second", 9), ("third", 17)] {
        let doomed = context.client().await?;
        let before = diary.runs().len();
        let job = Job {
            worker: victim,
            ..job(want.clone()).attempts(1).concurrency(4)
        };
        let crew = doomed.employ(job, &diary, |_| Act::fail()).await?;
        // What an earlier victim had sent may still land and leave less than a share.
        eventually("a share was handled, or nothing is left", async || {
            Ok(diary.runs().len() >= before + calls || client.buried_count("g").await? == ALL)
        })
        .await?;
        // Inside the window of whoever settles first and writes a moment later.
        tokio::time::sleep(ms(5)).await;
        doomed.connection.disturb.kill().await;
        crew.leave_running();
    }
    let crew = client
        .employ(job(want).attempts(1).named("heir"), &diary, |_| Act::fail())
        .await?;
    client.until_settled("g", "r.>").await?;
    let entries = client.buried("g").await?;
    ensure_eq!(
        buried_numbers(&entries)?,
        (0..ALL).collect::<Vec<_>>(),
        "dead letters after three crashes"
    );
    crew.shutdown().await
}

/// The same failure of the same message comes twice, as after a crash between writing and settling.
async fn r2_an_entry_written_twice_is_one(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    publish_all(&client, &notes("r.a", 0..3)).await?;
    let id = SubscriptionId::new("g".parse()?, "r.>".parse()?);
    let mut first: Option<Vec<_>> = None;
    for round in 1..=2 {
        let crew = client
            .employ(job(group("g", "r.>")).attempts(1), &diary, |_| Act::fail())
            .await?;
        diary.until_runs(3 * round).await?;
        client.until_settled("g", "r.>").await?;
        crew.shutdown().await?;
        let entries = client.until_buried("g", 3).await?;
        match &first {
            None => first = Some(entries),
            Some(first) => ensure_eq!(
                entries,
                *first,
                "what writing the same entries again leaves"
            ),
        }
        client.subscriptions().reset(&id, &Start::Earliest).await?;
    }
    Ok(())
}

async fn r2_each_pattern_has_its_own_entry(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let patterns = ["r.>", "r.*", "r.a"];
    let mut crews = Vec::new();
    for pattern in patterns {
        let job = job(group("g", pattern)).attempts(1);
        crews.push(client.employ(job, &diary, |_| Act::fail()).await?);
    }
    publish_all(&client, &notes("r.a", [7])).await?;
    let entries = client.until_buried("g", 3).await?;
    let found: BTreeSet<String> = entries
        .iter()
        .map(|entry| entry.subscription.pattern.to_string())
        .collect();
    ensure_eq!(
        found,
        patterns.map(String::from).into_iter().collect(),
        "patterns of the entries"
    );
    for crew in crews {
        crew.shutdown().await?;
    }
    Ok(())
}

/// In the new log the same message lies at the same place as in the old one.
async fn r2_a_recreated_log_makes_new_entries(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let note = &notes("r.a", [1])[0];
    let first = client.publish(note).await?;
    let crew = client
        .employ(job(group("g", "r.>")).attempts(1), &diary, |_| Act::fail())
        .await?;
    client.until_buried("g", 1).await?;
    client.until_settled("g", "r.>").await?;
    context
        .factory()
        .lose_log(context.namespace(), "r.a")
        .await?;
    client.publish(note).id(first.id).await?;
    client.until_buried("g", 2).await?;
    crew.shutdown().await
}

async fn r3_what_cannot_be_decoded_is_kept_byte_for_byte(
    context: Context,
) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let crew = client
        .employ(job(group("g", "r.>")).attempts(5), &diary, |_| Act::Done)
        .await?;
    let damaged: [&[u8]; 4] = [b"", b"{", b"\xff\xfe\x00\x01", b"{\"number\":\"seven\"}"];
    for (number, payload) in (0..).zip(damaged) {
        client.publish(&notes("r.a", [number])[0]).await?;
        let raw = Raw::new(
            Topic::new("r.a")?,
            Note::TYPE,
            "application/json",
            Bytes::from_static(payload),
        );
        client.publish(&raw).await?;
    }
    let entries = client.until_buried("g", damaged.len()).await?;
    diary.until_done(0..4).await?;
    client.until_settled("g", "r.>").await?;
    diary.exactly(0..4)?;
    let kept: BTreeSet<&[u8]> = entries.iter().map(|e| &e.message.payload[..]).collect();
    ensure_eq!(kept, damaged.into_iter().collect(), "the kept payloads");
    for entry in &entries {
        ensure_eq!(entry.error.kind, Failure::DECODE, "the kind of the failure");
        ensure_eq!(entry.attempts, 1, "attempts at what no attempt can decode");
    }
    crew.shutdown().await
}

async fn r5_a_dead_letter_keeps_everything(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let crew = client
        .employ(job(group("g", "r.*")).attempts(3), &diary, |run| {
            Act::Fail(format!("disk full in attempt {}", run.attempt))
        })
        .await?;
    let begun = clock::now();
    let note = Note::keyed("r.a", "key-\u{e9}", 7);
    let confirmed = client
        .publish(&note)
        .header("tenant", "")
        .header("spaces", "  two lines \n of text  ")
        .subject("a subject")
        .dataschema("urn:schema:1")
        .correlation_id("correlation")
        .causation_id("causation")
        .expires_in(secs(3600))
        .await?;
    let entries = client.until_buried("g", 1).await?;
    let entry = &entries[0];
    let ended = clock::now();
    let seen = diary.runs()[0].message.clone();
    ensure!(
        Arc::unwrap_or_clone(seen) == *entry.message,
        "the entry keeps another message than the handler saw: {:?}",
        entry.message
    );
    ensure_eq!(entry.message.metadata.id, confirmed.id, "the id");
    ensure_eq!(
        entry.message.key.as_deref(),
        Some("key-\u{e9}".as_bytes()),
        "the key"
    );
    // Their order is not promised: NATS clients keep headers in a table.
    let mut headers: Vec<_> = entry.message.headers.iter().collect();
    headers.sort_unstable();
    ensure_eq!(
        headers,
        vec![("spaces", "  two lines \n of text  "), ("tenant", "")],
        "the headers"
    );
    ensure_eq!(Note::of(&entry.message)?, note, "the payload");
    let id = SubscriptionId::new("g".parse()?, "r.*".parse()?);
    ensure_eq!(entry.subscription, id, "the subscription");
    if let Some(position) = confirmed.position {
        ensure_eq!(entry.origin.position, position, "the origin's position");
    }
    ensure_eq!(entry.attempts, 3, "attempts");
    ensure_eq!(
        entry.error.kind,
        Failure::HANDLER,
        "the kind of the failure"
    );
    ensure!(
        entry.error.text.contains("disk full in attempt 3"),
        "the text of the last failure is {:?}",
        entry.error.text
    );
    let (first, last) = (entry.first_failure, entry.last_failure);
    ensure!(
        begun <= first + ms(1) && first < last && last <= ended,
        "failed first at {first:?} and last at {last:?}, between {begun:?} and {ended:?}"
    );
    crew.shutdown().await
}

async fn r5_a_long_error_is_cut_at_4_kib(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    // Two bytes a character, behind an odd number of bytes: the cut falls inside of one.
    let text = format!("x{}", "\u{e9}".repeat(50_000));
    let whole = text.clone();
    let crew = client
        .employ(job(group("g", "r.>")).attempts(1), &diary, move |_| {
            Act::Refuse(text.clone())
        })
        .await?;
    publish_all(&client, &notes("r.a", [1])).await?;
    let kept = client.until_buried("g", 1).await?[0].error.text.clone();
    ensure!(
        whole.starts_with(&*kept) && (4090..=4096).contains(&kept.len()),
        "{} bytes of the error text are kept, beginning with {:?}",
        kept.len(),
        kept.chars().take(8).collect::<String>()
    );
    crew.shutdown().await
}

/// Payload and headers as large as they may be, with a reason that no longer fits beside them.
async fn r5_the_largest_message_is_kept_with_its_reason(context: Context) -> Result<(), Violation> {
    let (publisher, client) = (context.client().await?, context.client().await?);
    let largest = publisher.capabilities().max_payload.min(8 << 20);
    let payload = Bytes::from(
        (0..largest)
            .map(|byte| (byte % 251) as u8)
            .collect::<Vec<_>>(),
    );
    let raw = Raw::new(
        Topic::new("r.large")?,
        "conformance.large",
        "application/octet-stream",
        payload.clone(),
    );
    let header = "h".repeat(60 << 10);
    let mut inbox = client.join(group("g", "r.>").attempts(1)).await?;
    let drop_it = async {
        drop(inbox.raw().await);
        Ok::<_, Violation>(())
    };
    let publish = async {
        Ok(publisher
            .publish(&raw)
            .header("large", header.clone())
            .await?)
    };
    let _ = try_join(publish, drop_it).await?;
    let entries = client.until_buried("g", 1).await?;
    ensure!(
        entries[0].message.payload == payload,
        "{} of {largest} bytes are kept, or others",
        entries[0].message.payload.len()
    );
    ensure_eq!(
        entries[0].message.headers.get("large").map(str::len),
        Some(header.len()),
        "the length of the header"
    );
    inbox.leave().await
}
