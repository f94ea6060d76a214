//! P1 and P3: what a confirmation means, and batches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bus_api::{Bus, Error, ErrorKind, Message, Published, Raw, Result, Topic};
use futures_util::future::try_join_all;
use tokio::time::sleep;

use crate::case::{Case, case};
use crate::context::{Client, Context};
use crate::factory::Control;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::planted::Bug;
use crate::probe::{Ledger, Note, ack_all, group, notes, numbers, secs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(p1_confirmed_is_stored),
        case!(p1_the_first_messages_of_new_topics_are_stored).within(secs(60)),
        case!(p1_confirmed_survives_the_publisher).with(&[Control::Kill]),
        case!(p1_confirmed_survives_the_broker)
            .with(&[Control::Restart])
            .within(secs(90)),
        case!(p1_what_was_certainly_not_stored_is_sent_again),
        case!(p1_an_unanswered_publish_is_indeterminate_and_not_repeated),
        case!(p1_dedup_makes_an_unanswered_publish_repeatable),
        case!(p1_a_cut_link_gives_no_false_confirmation)
            .with(&[Control::Cut])
            .within(secs(60)),
        case!(p3_results_come_in_input_order),
        case!(p3_one_bad_message_fails_alone),
        case!(p3_an_empty_batch_is_no_error),
    ]
}

async fn p1_confirmed_is_stored(context: Context) -> std::result::Result<(), Violation> {
    let publisher = context.client().await?;
    let ledger = Ledger::expecting(0..60);
    for note in notes("a.b", 0..60) {
        let confirmed = publisher.publish(&note).await?;
        ensure!(!confirmed.duplicate, "a duplicate without a dedup id");
    }
    let mut inbox = context.client().await?.join(group("g", "a.b")).await?;
    inbox.take_all(&ledger).await
}

/// Brokers tell of a new topic before it is ready everywhere. What is published meanwhile, several messages on their
/// way at a time, is confirmed only when it is stored.
async fn p1_the_first_messages_of_new_topics_are_stored(
    context: Context,
) -> std::result::Result<(), Violation> {
    const TOPICS: u64 = 20;
    const EACH: u64 = 8;
    let client = context.client().await?;
    let publishing = (0..TOPICS).map(async |topic| {
        let publishing = (0..EACH).map(async |number| {
            // Not in the same batch: one is sent before the answer to the last one came.
            sleep(Duration::from_micros(300) * number as u32).await;
            let number = topic * EACH + number;
            let note = Note::keyed(&format!("new{topic}.a"), "k", number);
            client.publish(&note).await
        });
        try_join_all(publishing).await
    });
    try_join_all(publishing).await?;
    let mut inbox = client.join(group("g", ">")).await?;
    inbox.take_all(&Ledger::expecting(0..TOPICS * EACH)).await
}

/// A client that confirms what lies in its own buffer loses the last of these.
async fn p1_confirmed_survives_the_publisher(
    context: Context,
) -> std::result::Result<(), Violation> {
    let ledger = Ledger::new();
    for round in 0..5 {
        let publisher = context.client().await?;
        for number in round * 10..round * 10 + 10 {
            publisher.publish(&Note::new("a.b", number)).await?;
            ledger.publish([number]);
        }
        publisher.connection.disturb.kill().await;
    }
    let mut inbox = context.client().await?.join(group("g", "a.b")).await?;
    inbox.take_all(&ledger).await
}

async fn p1_confirmed_survives_the_broker(context: Context) -> std::result::Result<(), Violation> {
    let publisher = context.client().await?;
    let ledger = Ledger::expecting(0..50);
    for note in notes("a.b", 0..50) {
        publisher.publish(&note).await?;
    }
    context.factory().stop_broker().await?;
    context.factory().start_broker().await?;
    let mut inbox = context.client().await?.join(group("g", "a.b")).await?;
    inbox.take_all(&ledger).await
}

/// Makes the first tries of the messages fail in one way.
#[derive(Debug)]
struct Unlucky {
    /// Tries that fail, per message.
    failures: u32,
    /// Whether the failed ones are stored and only the answer is lost.
    stored: bool,
    tries: Mutex<BTreeMap<String, u32>>,
}

impl Unlucky {
    fn new(failures: u32, stored: bool) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self {
            failures,
            stored,
            tries: Mutex::default(),
        })
    }

    fn fails(&self, message: &Message) -> bool {
        let mut tries = self
            .tries
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let tried = tries.entry(message.metadata.id.to_string()).or_default();
        *tried += 1;
        *tried <= self.failures
    }
}

#[async_trait]
impl Bug for Unlucky {
    async fn publish(&self, bus: &dyn Bus, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        let mut results = Vec::new();
        for message in batch {
            let fails = self.fails(&message);
            if fails && !self.stored {
                results.push(Err(Error::new(ErrorKind::Unavailable, "not sent")));
                continue;
            }
            for published in bus.publish(vec![message]).await {
                results.push(if fails {
                    Err(Error::new(ErrorKind::Unavailable, "no answer").indeterminate())
                } else {
                    published
                });
            }
        }
        results
    }
}

async fn stored_once(client: &Client, note: u64) -> std::result::Result<(), Violation> {
    let mut inbox = client.join(group("g", "a.b")).await?;
    inbox.take_all(&Ledger::expecting([note])).await
}

async fn p1_what_was_certainly_not_stored_is_sent_again(
    context: Context,
) -> std::result::Result<(), Violation> {
    let client = context.client_behind(Unlucky::new(2, false), &[]).await?;
    client.publish(&Note::new("a.b", 1)).await?;
    stored_once(&client, 1).await
}

async fn p1_an_unanswered_publish_is_indeterminate_and_not_repeated(
    context: Context,
) -> std::result::Result<(), Violation> {
    let client = context.client_behind(Unlucky::new(1, true), &[]).await?;
    match client.publish(&Note::new("a.b", 1)).await {
        Ok(_) => {
            return Err(Violation::new(
                "a publish without an answer was confirmed: it was stored twice or never checked",
            ));
        }
        Err(error) => ensure!(error.is_indeterminate(), "it may be stored, but: {error}"),
    }
    stored_once(&client, 1).await
}

async fn p1_dedup_makes_an_unanswered_publish_repeatable(
    context: Context,
) -> std::result::Result<(), Violation> {
    let client = context.client_behind(Unlucky::new(1, true), &[]).await?;
    if !client.capabilities().dedup {
        // Then the rule of the case before applies to everything; P2 checks that ids are refused.
        return Ok(());
    }
    client
        .publish(&Note::new("a.b", 1))
        .dedup_id("once")
        .await?;
    stored_once(&client, 1).await
}

async fn p1_a_cut_link_gives_no_false_confirmation(
    context: Context,
) -> std::result::Result<(), Violation> {
    let client = context.client_with(&[("publish_timeout", "2s")]).await?;
    client.publish(&Note::new("a.b", 0)).await?;
    client.connection.disturb.cut().await;
    let outcome = client.publish(&Note::new("a.b", 1)).await;
    client.connection.disturb.heal().await;
    // The next one passes within the time that it is retried for (L3).
    let ledger = Ledger::expecting([0, 2]);
    let patient = context.client().await?;
    patient.publish(&Note::new("a.b", 2)).await?;
    let mut inbox = patient.join(group("g", "a.b")).await?;
    match outcome {
        Ok(_) => Err(Violation::new("confirmed through a link that was cut")),
        Err(error) if error.is_indeterminate() => {
            let mut held = inbox.hold(2).await?;
            if numbers(&held) != vec![0, 2] {
                held.extend(inbox.hold(1).await?);
                ensure_eq!(numbers(&held), vec![0, 1, 2], "what is stored");
            }
            ack_all(held).await
        }
        Err(_) => inbox.take_all(&ledger).await,
    }
}

async fn p3_results_come_in_input_order(context: Context) -> std::result::Result<(), Violation> {
    let client = context.client().await?;
    let batch: Vec<Note> = (0..200)
        .map(|number| Note::new(["a.b", "a.c", "d"][(number % 3) as usize], number))
        .collect();
    let results = client.publish_batch(&batch).await;
    ensure_eq!(results.len(), batch.len(), "results");
    let mut ids = BTreeMap::new();
    let mut positions = BTreeMap::new();
    for (note, result) in batch.iter().zip(results) {
        let confirmed = result?;
        if let Some(position) = confirmed.position {
            positions.insert(note.number, position.to_string());
        }
        ids.insert(note.number, confirmed.id);
    }
    let mut inbox = client.join(group("g", ">")).await?;
    let held = inbox.hold(batch.len()).await?;
    for token in &held {
        let (number, envelope) = (token.number(), token.envelope());
        ensure_eq!(
            ids.get(&number),
            Some(&envelope.metadata.id),
            "the id that the batch returned for {number}"
        );
        if let Some(position) = positions.get(&number) {
            ensure_eq!(
                &envelope.position.to_string(),
                position,
                "the position of {number}: the batch said"
            );
        }
    }
    ack_all(held).await?;
    inbox.quiet().await
}

async fn p3_one_bad_message_fails_alone(context: Context) -> std::result::Result<(), Violation> {
    let client = context.client().await?;
    let max = client.capabilities().max_payload;
    let raw = |number: usize| {
        let payload = match number {
            3 => vec![0; max + 1],
            _ => serde_json::to_vec(&Note::new("a.b", number as u64)).unwrap_or_default(),
        };
        Ok::<_, Error>(Raw::new(
            Topic::new("a.b")?,
            Note::TYPE,
            "application/json",
            payload,
        ))
    };
    let batch = (0..7).map(raw).collect::<Result<Vec<_>>>()?;
    let results = client.publish_batch(&batch).await;
    ensure_eq!(results.len(), 7, "results");
    for (number, result) in results.into_iter().enumerate() {
        match (number, result) {
            (3, Err(error)) => {
                ensure_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
                ensure!(!error.is_indeterminate(), "nothing is sent, so: {error}");
            }
            (3, Ok(_)) => return Err(Violation::new("a payload above the maximum was accepted")),
            (_, result) => drop(result?),
        }
    }
    // The adapter has to be as fair with what only it can refuse.
    let mut messages = Vec::new();
    for number in 10..17 {
        let mut message = bus_api::Event::to_message(
            &Note::new("a.b", number),
            client.codecs().default_codec().as_ref(),
            bus_api::Metadata::new(
                bus_api::MessageId::new(&format!("m-{number}")),
                "s".into(),
                bus_api::clock::now(),
            ),
        )?;
        if number == 13 {
            message.payload = vec![0; max + 1].into();
        }
        messages.push(Arc::new(message));
    }
    let results = client.connection.bus.publish(messages).await;
    ensure_eq!(results.len(), 7, "results of the adapter");
    for (number, result) in (10..).zip(results) {
        match (number, result) {
            (13, result) => match result.map_err(|error| error.kind()) {
                Err(ErrorKind::TooLarge) => {}
                other => {
                    return Err(Violation::new(format_args!(
                        "a payload above the maximum: {other:?}"
                    )));
                }
            },
            (_, result) => drop(result?),
        }
    }
    let mut inbox = client.join(group("g", "a.b")).await?;
    let sent = [0, 1, 2, 4, 5, 6, 10, 11, 12, 14, 15, 16];
    inbox.take_all(&Ledger::expecting(sent)).await
}

async fn p3_an_empty_batch_is_no_error(context: Context) -> std::result::Result<(), Violation> {
    let client = context.client().await?;
    let none: Vec<Note> = Vec::new();
    ensure!(
        client.publish_batch(&none).await.is_empty(),
        "results of nothing"
    );
    ensure!(
        client.connection.bus.publish(Vec::new()).await.is_empty(),
        "results of nothing"
    );
    ensure_eq!(client.topics().await?, Vec::<String>::new(), "topics");
    Ok(())
}
