//! S7: replay.

use bus_api::{ErrorKind, Offset, Position, Start};

use crate::case::{Case, case};
use crate::context::{Client, Context};
use crate::factory::Control;
use crate::outcome::{Violation, ensure_eq};
use crate::probe::{Ledger, Note, Token, broadcast, group, let_the_clock_tick, notes};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(s7_the_beginning_can_be_replayed_any_time),
        case!(s7_a_position_is_inclusive),
        case!(s7_other_logs_start_at_the_positions_store_time),
        case!(s7_a_time_starts_at_the_brokers_store_time),
        case!(s7_a_broadcast_can_replay),
        case!(s7_a_position_travels_as_text),
        case!(s7_a_position_of_no_log_is_not_found),
        case!(s7_a_position_of_a_lost_log_is_not_found).with(&[Control::LoseLog]),
    ]
}

async fn s7_the_beginning_can_be_replayed_any_time(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    for note in notes("a.b", 0..30) {
        client.publish(&note).await?;
    }
    // Acked by everybody so far: retention by limits keeps it (K1).
    for name in ["first", "second", "third"] {
        let mut inbox = client.join(group(name, "a.b")).await?;
        inbox.take_all(&Ledger::expecting(0..30)).await?;
        inbox.leave().await?;
    }
    Ok(())
}

/// Notes of one topic that lie in one log, also where a topic has several and a key chooses: other logs start at a
/// position's store time, which the last message before it may share.
fn of_one_log(numbers: std::ops::Range<u64>) -> impl Iterator<Item = Note> {
    numbers.map(|number| Note::keyed("a.b", "k", number))
}

/// The receipt of `number`, as a scout of its own group sees it.
async fn receipt(client: &Client, scout: &str, number: u64) -> Result<Token, Violation> {
    let mut inbox = client.join(group(scout, ">")).await?;
    loop {
        let token = inbox.next().await?;
        if token.number() == number {
            return Ok(token);
        }
        token.ack().await?;
    }
}

async fn s7_a_position_is_inclusive(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut confirmed = Vec::new();
    for note in of_one_log(0..20) {
        confirmed.push(client.publish(&note).await?);
    }
    for number in [0, 7, 19] {
        let token = receipt(&client, &format!("scout-{number}"), number).await?;
        let position = token.envelope().position.clone();
        if let Some(published) = confirmed
            .get(number as usize)
            .and_then(|c| c.position.as_ref())
        {
            ensure_eq!(&position, published, "the position that publish returned");
        }
        let want = group(&format!("g{number}"), "a.b").start(Start::Position(position));
        let mut inbox = client.join(want).await?;
        inbox.take_all(&Ledger::expecting(number..20)).await?;
    }
    Ok(())
}

async fn s7_other_logs_start_at_the_positions_store_time(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    let topics = ["x.a", "y.a", "z.b"];
    for (number, topic) in (0..).zip(topics) {
        client.publish(&Note::new(topic, number)).await?;
    }
    let_the_clock_tick().await;
    client.publish(&Note::new("x.a", 10)).await?;
    let_the_clock_tick().await;
    for (number, topic) in (20..).zip(topics) {
        client.publish(&Note::new(topic, number)).await?;
    }
    // A log that comes into being after the position is one of the others, too.
    client.publish(&Note::new("new.c", 30)).await?;
    let token = receipt(&client, "scout", 10).await?;
    let start = Start::Position(token.envelope().position.clone());
    let mut inbox = client.join(group("g", ">").start(start)).await?;
    inbox
        .take_all(&Ledger::expecting([10, 20, 21, 22, 30]))
        .await
}

async fn s7_a_time_starts_at_the_brokers_store_time(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    for (number, topic) in (0..).zip(["x.a", "y.a", "x.a"]) {
        client.publish(&Note::new(topic, number)).await?;
    }
    let_the_clock_tick().await;
    client.publish(&Note::new("y.a", 10)).await?;
    client.publish(&Note::new("x.a", 11)).await?;
    let token = receipt(&client, "scout", 10).await?;
    // The broker's time, not this machine's, and to the millisecond that a position has as text.
    let time = token.envelope().position.stored_at();
    let mut inbox = client
        .join(group("g", "*.a").start(Start::Time(time)))
        .await?;
    inbox.take_all(&Ledger::expecting([10, 11])).await?;
    let mut inbox = client
        .join(group("all", "*.a").start(Start::Time(std::time::UNIX_EPOCH)))
        .await?;
    inbox.take_all(&Ledger::expecting([0, 1, 2, 10, 11])).await
}

async fn s7_a_broadcast_can_replay(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    for note in of_one_log(0..10) {
        client.publish(&note).await?;
    }
    let mut inbox = client.join(broadcast("a.b").start(Start::Earliest)).await?;
    inbox.take_all(&Ledger::expecting(0..10)).await?;
    let position = receipt(&client, "scout", 6)
        .await?
        .envelope()
        .position
        .clone();
    let mut inbox = client
        .join(broadcast("a.b").start(Start::Position(position)))
        .await?;
    inbox.take_all(&Ledger::expecting(6..10)).await
}

async fn s7_a_position_travels_as_text(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    for note in of_one_log(0..6) {
        client.publish(&note).await?;
    }
    let text = receipt(&client, "scout", 3)
        .await?
        .envelope()
        .position
        .to_string();
    let position: Position = text.parse()?;
    ensure_eq!(position.to_string(), text, "the text form");
    let mut inbox = context
        .client()
        .await?
        .join(group("g", "a.b").start(Start::Position(position)))
        .await?;
    inbox.take_all(&Ledger::expecting(3..6)).await
}

async fn not_found(client: &Client, position: Position) -> Result<(), Violation> {
    let want = group("lost", "a.b").start(Start::Position(position));
    match client.join(want).await {
        Ok(_) => Err(Violation::new(
            "a subscription started at a position that does not exist",
        )),
        Err(error) => {
            ensure_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            let known = client.list().await?;
            ensure_eq!(
                known
                    .iter()
                    .filter(|info| info.id.group.as_str() == "lost")
                    .count(),
                0,
                "subscriptions left by the refused start"
            );
            Ok(())
        }
    }
}

async fn s7_a_position_of_no_log_is_not_found(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    client.publish(&Note::new("a.b", 1)).await?;
    let real = receipt(&client, "scout", 1)
        .await?
        .envelope()
        .position
        .clone();
    for log in ["", "no such log", &format!("{}x", real.log())] {
        let position = Position::new(log.into(), Offset(1, 0), real.stored_at());
        not_found(&client, position).await?;
    }
    Ok(())
}

/// The log is made anew under its old name: an old position must not be taken for one of the new log.
async fn s7_a_position_of_a_lost_log_is_not_found(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    for note in notes("a.b", 0..5) {
        client.publish(&note).await?;
    }
    let old = receipt(&client, "scout", 1)
        .await?
        .envelope()
        .position
        .clone();
    context
        .factory()
        .lose_log(context.namespace(), "a.b")
        .await?;
    for note in notes("a.b", 10..15) {
        client.publish(&note).await?;
    }
    not_found(&client, old).await
}
