//! P2: dedup.

use bus_api::ErrorKind;
use tokio::time::{Instant, sleep};

use crate::case::{Case, case};
use crate::context::{Client, Context};
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Note, ack_all, group, ms, numbers, secs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(p2_the_second_of_a_dedup_id_is_a_duplicate),
        case!(p2_dedup_is_per_topic),
        case!(p2_dedup_ends_with_its_window),
        case!(p2_dedup_works_inside_a_batch_of_publishers),
        case!(p2_without_dedup_id_nothing_is_a_duplicate),
    ]
}

/// Whether the transport has dedup; where it has none, a dedup id has to be refused and nothing stored.
async fn has_dedup(client: &Client) -> Result<bool, Violation> {
    if client.capabilities().dedup {
        return Ok(true);
    }
    match client.publish(&Note::new("refused", 1)).dedup_id("d").await {
        Ok(_) => Err(Violation::new("a dedup id was accepted and means nothing")),
        Err(error) => {
            ensure_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            ensure!(!error.is_indeterminate(), "nothing is sent, so: {error}");
            let mut inbox = client.join(group("g", "refused")).await?;
            inbox.quiet().await?;
            Ok(false)
        }
    }
}

async fn p2_the_second_of_a_dedup_id_is_a_duplicate(context: Context) -> Result<(), Violation> {
    let (first, second) = (context.client().await?, context.client().await?);
    if !has_dedup(&first).await? {
        return Ok(());
    }
    let stored = first.publish(&Note::new("a.b", 1)).dedup_id("d-1").await?;
    ensure!(!stored.duplicate, "the first is no duplicate");
    // By another connection and with another payload: the dedup id alone decides.
    for client in [&first, &second] {
        let again = client.publish(&Note::new("a.b", 2)).dedup_id("d-1").await?;
        ensure!(again.duplicate, "the second is a duplicate");
    }
    // Odd ids are ids like others.
    for id in ["d-2", "D-1", "d 1", "d-1 ", "ü/\n", &"x".repeat(200)] {
        let other = first.publish(&Note::new("a.b", 3)).dedup_id(id).await?;
        ensure!(!other.duplicate, "{id:?} was never published");
    }
    let mut inbox = second.join(group("g", "a.b")).await?;
    let held = inbox.hold(7).await?;
    ensure_eq!(numbers(&held), vec![1, 3, 3, 3, 3, 3, 3], "what was stored");
    inbox.quiet().await
}

async fn p2_dedup_is_per_topic(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    if !has_dedup(&client).await? {
        return Ok(());
    }
    // Glued together without a separator, topic and id of the last two would be the same.
    for (number, topic, id) in [
        (1, "a.b", "d"),
        (2, "a.c", "d"),
        (3, "a", "b.d"),
        (4, "a.b", "-d"),
        (5, "a.b-", "d"),
    ] {
        let stored = client
            .publish(&Note::new(topic, number))
            .dedup_id(id)
            .await?;
        ensure!(
            !stored.duplicate,
            "{id:?} on {topic} is the first of its kind"
        );
    }
    let mut inbox = client.join(group("g", ">")).await?;
    let held = inbox.hold(5).await?;
    ensure_eq!(numbers(&held), vec![1, 2, 3, 4, 5], "what was stored");
    inbox.quiet().await
}

async fn p2_dedup_ends_with_its_window(context: Context) -> Result<(), Violation> {
    let window = secs(2);
    let client = context.client_with(&[("dedup_window", "2s")]).await?;
    if !has_dedup(&client).await? {
        return Ok(());
    }
    let note = Note::new("a.b", 1);
    let before = Instant::now();
    client.publish(&note).dedup_id("d").await?;
    let after = Instant::now();
    let stored = loop {
        sleep(ms(100)).await;
        let asked = Instant::now();
        let again = client.publish(&note).dedup_id("d").await?;
        if !again.duplicate {
            break Instant::now();
        }
        ensure!(
            asked - after < window + secs(5),
            "still a duplicate {:?} after it was stored; the window is {window:?}",
            asked - after
        );
    };
    // A broker with a coarse clock may round by a few milliseconds.
    ensure!(
        stored - before + ms(50) >= window,
        "stored again after {:?}; the window is {window:?}",
        stored - before
    );
    let mut inbox = client.join(group("g", "a.b")).await?;
    ack_all(inbox.hold(2).await?).await?;
    inbox.quiet().await
}

/// Many publishers race with the same ids: of each exactly one wins.
async fn p2_dedup_works_inside_a_batch_of_publishers(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    if !has_dedup(&client).await? {
        return Ok(());
    }
    let racers = (0..5).map(|racer| {
        let client = client.clone();
        async move {
            let mut won = 0;
            for id in 0..20 {
                let confirmed = client
                    .publish(&Note::new("a.b", racer * 100 + id))
                    .dedup_id(format!("d-{id}"))
                    .await?;
                won += u64::from(!confirmed.duplicate);
            }
            Ok::<_, Violation>(won)
        }
    });
    let mut won = 0;
    for racer in futures_util::future::join_all(racers).await {
        won += racer?;
    }
    ensure_eq!(won, 20, "publishes that were no duplicate");
    let mut inbox = client.join(group("g", "a.b")).await?;
    let held = inbox.hold(20).await?;
    let mut ids: Vec<u64> = held.iter().map(|token| token.number() % 100).collect();
    ids.sort_unstable();
    ensure_eq!(ids, (0..20).collect::<Vec<_>>(), "one of each id");
    inbox.quiet().await
}

async fn p2_without_dedup_id_nothing_is_a_duplicate(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let note = Note::new("a.b", 1);
    let first = client.publish(&note).await?;
    for _ in 0..4 {
        // Not even of the same id: an id is for consumers (I1), a dedup id for the broker.
        let again = client.publish(&note).id(first.id.clone()).await?;
        ensure!(!again.duplicate, "a duplicate without a dedup id");
    }
    let mut inbox = client.join(group("g", "a.b")).await?;
    let held = inbox.hold(5).await?;
    ensure_eq!(numbers(&held), vec![1; 5], "what was stored");
    inbox.quiet().await
}
