//! K: how long messages are kept.

use bus_api::{ErrorKind, Notice, Raw, Topic};
use bytes::Bytes;
use tokio::time::timeout;

use crate::case::{Case, case};
use crate::context::{Client, Context};
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Ledger, ack_all, eventually, group, let_the_clock_tick, ms, notes, secs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(k1_settled_messages_stay_until_a_limit),
        case!(k1_a_namespace_keeps_its_count),
        case!(k1_a_namespace_keeps_its_bytes),
        case!(k1_a_namespace_keeps_its_age),
        case!(k1_settled_removes_what_everyone_has_settled),
        case!(k2_a_full_log_rejects_and_names_the_key),
        case!(k2_settling_makes_room),
        case!(k3_dropped_messages_are_counted),
        case!(k3_nothing_is_dropped_without_a_limit),
    ]
}

/// What a new group finds, in the order of hand-over.
async fn found(client: &Client, name: &str) -> Result<Vec<u64>, Violation> {
    let mut inbox = client.join(group(name, ">")).await?;
    let mut numbers = Vec::new();
    // The end of a log is silence.
    while let Ok(Some(token)) = timeout(ms(700), inbox.raw()).await {
        let token = token?.token()?;
        numbers.push(token.number());
        token.ack().await?;
    }
    numbers.sort_unstable();
    inbox.leave().await?;
    Ok(numbers)
}

async fn k1_settled_messages_stay_until_a_limit(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let ledger = Ledger::expecting(0..50);
    let mut inbox = client.join(group("g", "k.>")).await?;
    for note in notes("k.a", 0..50) {
        client.publish(&note).await?;
    }
    inbox.take_all(&ledger).await?;
    inbox.leave().await?;
    ensure_eq!(
        found(&client, "late").await?,
        (0..50).collect::<Vec<_>>(),
        "what a group finds of messages that another one has settled"
    );
    Ok(())
}

async fn k1_a_namespace_keeps_its_count(context: Context) -> Result<(), Violation> {
    let options = [
        ("retention.count", "100"),
        ("retention.full", "drop_oldest"),
    ];
    let client = context.client_with(&options).await?;
    // Over several topics: the limit is the namespace's.
    for number in 0..300 {
        let topic = ["k.a", "k.b", "other"][number as usize % 3];
        if number == 200 {
            // The last that goes and the first that stays may lie in different logs.
            let_the_clock_tick().await;
        }
        client.publish(&notes(topic, [number])[0]).await?;
    }
    let mut attempt = 0;
    eventually("300 messages are cut to 100", async || {
        attempt += 1;
        let found = found(&client, &format!("late-{attempt}")).await?;
        ensure!(
            (200..300).all(|number| found.contains(&number)),
            "what is left of 300 messages with room for 100: {found:?}"
        );
        Ok(found.len() == 100)
    })
    .await
}

async fn k1_a_namespace_keeps_its_bytes(context: Context) -> Result<(), Violation> {
    const LIMIT: usize = 128 << 10;
    const EACH: usize = 4 << 10;
    let options = [
        ("retention.bytes", "128KiB"),
        ("retention.full", "drop_oldest"),
    ];
    let client = context.client_with(&options).await?;
    for number in 0..100_u8 {
        let raw = Raw::new(
            Topic::new("k.a")?,
            "conformance.bytes",
            "application/octet-stream",
            Bytes::from(vec![number; EACH]),
        );
        client.publish(&raw).await?;
    }
    let bus = &client.connection.bus;
    let stored = async || {
        let topics = bus.admin().topics().await?;
        Ok::<_, Violation>(topics.iter().filter_map(|info| info.messages).sum::<u64>())
    };
    let mut left = 0;
    eventually("the namespace is below its limit of bytes", async || {
        left = stored().await?;
        Ok(left as usize * EACH <= LIMIT)
    })
    .await?;
    // Attributes count as well, but they are small: more than half of the room is payload.
    ensure!(
        left as usize * EACH > LIMIT / 2,
        "{left} messages of 4 KiB are left with room for 128 KiB"
    );
    Ok(())
}

async fn k1_a_namespace_keeps_its_age(context: Context) -> Result<(), Violation> {
    let client = context.client_with(&[("retention.age", "2s")]).await?;
    for note in notes("k.a", 0..20) {
        client.publish(&note).await?;
    }
    ensure_eq!(
        found(&client, "early").await?.len(),
        20,
        "messages before their age"
    );
    // Not a wait for something to happen: the clause is about time that has passed.
    tokio::time::sleep(secs(2)).await;
    let mut attempt = 0;
    eventually("messages older than their age are gone", async || {
        attempt += 1;
        Ok(found(&client, &format!("late-{attempt}")).await?.is_empty())
    })
    .await?;
    client.publish(&notes("k.a", [99])[0]).await?;
    ensure_eq!(
        found(&client, "last").await?,
        vec![99],
        "a message within its age"
    );
    Ok(())
}

async fn k1_settled_removes_what_everyone_has_settled(context: Context) -> Result<(), Violation> {
    let client = context.client_with(&[("retention", "settled")]).await?;
    let mut first = client.join(group("first", "k.>")).await?;
    let mut second = client.join(group("second", ">")).await?;
    for note in notes("k.a", 0..20) {
        client.publish(&note).await?;
    }
    first.take_all(&Ledger::expecting(0..20)).await?;
    // Half of it: 0 to 9 are settled by both, the others by one.
    let mut held = second.hold(20).await?;
    held.sort_by_key(crate::probe::Token::number);
    let kept = held.split_off(10);
    ack_all(held).await?;
    let mut attempt = 0;
    eventually("what both have settled is gone", async || {
        attempt += 1;
        let found = found(&client, &format!("late-{attempt}")).await?;
        ensure!(
            (10..20).all(|number| found.contains(&number)),
            "a new group found {found:?}; 10 to 19 are not settled by all"
        );
        // The groups that look are subscriptions, too, and have settled what they found.
        Ok(found == (10..20).collect::<Vec<_>>())
    })
    .await?;
    ack_all(kept).await?;
    eventually("what all have settled is gone", async || {
        attempt += 1;
        Ok(found(&client, &format!("late-{attempt}")).await?.is_empty())
    })
    .await
}

const FULL: [(&str, &str); 2] = [("retention.count", "50"), ("retention.full", "reject")];
/// For publishes that are to be refused: they are tried again until then. Those that are to be stored have
/// the usual time, because a machine may be slow.
const BRIEFLY: (&str, &str) = ("publish_timeout", "3s");

/// A client of a namespace that rejects when it is full, the first of the namespace: where a broker's log has
/// the limits, they are those of whoever makes it. None where the transport says that it cannot reject: what it
/// cannot do is refused, not ignored.
async fn rejecting(
    context: &Context,
    options: &[(&str, &str)],
) -> Result<Option<Client>, Violation> {
    let connected = context.client_with(options).await;
    let rejects = context.client().await?.capabilities().reject_when_full;
    match connected {
        Err(violation) if !rejects && violation.to_string().contains("unsupported") => Ok(None),
        connected if !rejects => Err(Violation::new(format_args!(
            "a transport that cannot reject took retention.full=reject: {connected:?}"
        ))),
        connected => connected.map(Some),
    }
}

async fn k2_a_full_log_rejects_and_names_the_key(context: Context) -> Result<(), Violation> {
    let Some(client) = rejecting(&context, &FULL).await? else {
        return Ok(());
    };
    for note in notes("k.a", 0..50) {
        client.publish(&note).await?;
    }
    let hasty = context
        .client_with(&[&FULL[..], &[BRIEFLY]].concat())
        .await?;
    for note in notes("k.b", 50..53) {
        match hasty.publish(&note).await {
            Err(error) if error.kind() == ErrorKind::Throttled => {
                ensure!(
                    !error.is_indeterminate(),
                    "a rejected publish is indeterminate: {error}"
                );
                ensure!(
                    error.to_string().contains("retention.count"),
                    "{error} does not name retention.count"
                );
            }
            other => {
                return Err(Violation::new(format_args!(
                    "a publish into a full log gave {other:?}"
                )));
            }
        }
    }
    ensure_eq!(
        found(&client, "late").await?,
        (0..50).collect::<Vec<_>>(),
        "what a full log holds"
    );
    Ok(())
}

async fn k2_settling_makes_room(context: Context) -> Result<(), Violation> {
    let options = [&FULL[..], &[("retention", "settled")]].concat();
    let Some(client) = rejecting(&context, &options).await? else {
        return Ok(());
    };
    let mut inbox = client.join(group("g", "k.>")).await?;
    for note in notes("k.a", 0..50) {
        client.publish(&note).await?;
    }
    let hasty = context
        .client_with(&[&options[..], &[BRIEFLY]].concat())
        .await?;
    let refused = hasty.publish(&notes("k.a", [50])[0]).await;
    ensure!(
        refused
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Throttled),
        "a publish into a full log gave {refused:?}"
    );
    ack_all(inbox.hold(20).await?).await?;
    // Publishing goes on trying while there is no room.
    for note in notes("k.a", 60..80) {
        client.publish(&note).await?;
    }
    let rest = inbox.hold(50).await?;
    ack_all(rest).await?;
    inbox.quiet().await
}

async fn k3_dropped_messages_are_counted(context: Context) -> Result<(), Violation> {
    let options = [
        ("retention.count", "100"),
        ("retention.full", "drop_oldest"),
    ];
    let client = context.client_with(&options).await?;
    let mut notices = client.notices();
    let want = group("g", "k.>");
    let mut inbox = client.join(want.clone()).await?;
    for note in notes("k.a", 0..30) {
        client.publish(&note).await?;
    }
    // Ten are settled, twenty are not; then the log rolls over all of them and fifty more.
    let mut held = inbox.hold(30).await?;
    held.sort_by_key(crate::probe::Token::number);
    let unsettled = held.split_off(10);
    ack_all(held).await?;
    drop(unsettled);
    inbox.leave().await?;
    // The last that goes and the first that stays may lie in different logs.
    for numbers in [30..80, 80..180] {
        let_the_clock_tick().await;
        for note in notes("k.a", numbers) {
            client.publish(&note).await?;
        }
    }
    // 0 to 79 are gone; 0 to 9 were settled.
    let mut seen = 0;
    eventually("what was dropped unsettled is counted", async || {
        seen = client.info(&group("g", "k.>")).await?.dropped;
        ensure!(
            seen <= 70,
            "{seen} messages are counted as dropped unsettled; 70 were"
        );
        Ok(seen == 70)
    })
    .await
    .map_err(|violation| violation.because(format_args!("{seen} of 70 are counted")))?;
    let health = client.health().await;
    let shown = health
        .subscriptions
        .iter()
        .find(|info| info.id.group.as_str() == "g")
        .map(|info| info.dropped);
    ensure_eq!(shown, Some(70), "what health() shows as dropped");
    let mut announced = 0;
    while let Ok(notice) = notices.try_recv() {
        if let Notice::Dropped { messages, .. } = notice {
            announced += messages;
        }
    }
    ensure_eq!(announced, 70, "what notices say was dropped");
    ensure_eq!(
        client.info(&group("g", "k.>")).await?.lag,
        100,
        "the lag after the drop"
    );
    let mut inbox = client.join(want).await?;
    inbox.take_all(&Ledger::expecting(80..180)).await
}

async fn k3_nothing_is_dropped_without_a_limit(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    client.join(group("g", "k.>")).await?.leave().await?;
    for result in client.publish_batch(&notes("k.a", 0..2_000)).await {
        result?;
    }
    tokio::time::sleep(ms(50)).await;
    let info = client.info(&group("g", "k.>")).await?;
    ensure_eq!((info.lag, info.dropped), (2_000, 0), "lag and dropped");
    Ok(())
}
