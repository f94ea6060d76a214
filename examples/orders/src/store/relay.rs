//! Publishes what is in the outbox.

use std::time::Duration;

use anyhow::Result;
use bus::{BusClient, MessageId, Raw, Topic};

use super::outbox::{self, Outgoing};
use super::{Cause, Store};

/// How many are on their way at a time.
const MOST: usize = 256;
/// How long it waits when the bus does not take them.
const REST: Duration = Duration::from_millis(250);

/// Publishes what is in the outbox, what an earlier life of the service has left there first. For ever.
pub async fn run(store: &Store, bus: &BusClient) -> Result<()> {
    loop {
        if !drain(store, bus).await? {
            store.bell.notified().await;
        }
    }
}

/// Publishes the oldest; `false` when there were none.
///
/// One that may have been stored (the answer of the broker was lost, or this process died before it removed
/// it) is published again under the same id.
pub async fn drain(store: &Store, bus: &BusClient) -> Result<bool> {
    let waiting = store
        .read(|view| outbox::oldest(view.transaction(), MOST))
        .await?;
    let found = !waiting.is_empty();
    let publisher = bus.publisher();
    let mut sent = Vec::new();
    for (number, outgoing) in waiting {
        sent.push((number, send(&publisher, bus, outgoing).await));
    }
    let (mut stored, mut failed) = (Vec::new(), None);
    for (number, confirmation) in sent {
        let confirmed = match confirmation {
            Ok(confirmation) => confirmation.await,
            Err(error) => Err(error),
        };
        match confirmed {
            Ok(_) => stored.push(number),
            Err(error) => failed = Some(error),
        }
    }
    if !stored.is_empty() {
        let cause = Cause {
            correlation: String::new(),
            message: None,
        };
        store
            .transact(cause, move |work| {
                outbox::remove(work.transaction(), &stored)
            })
            .await?;
    }
    if let Some(error) = failed {
        eprintln!("the bus does not take what the outbox holds: {error}");
        tokio::time::sleep(REST).await;
    }
    Ok(found)
}

async fn send(
    publisher: &bus::Publisher,
    bus: &BusClient,
    outgoing: Outgoing,
) -> bus::Result<bus::PublishConfirmation> {
    let mut raw = Raw::new(
        Topic::new(&outgoing.topic)?,
        outgoing.event_type,
        outgoing.content_type,
        outgoing.payload,
    );
    if let Some(key) = outgoing.key {
        raw = raw.with_key(key);
    }
    let mut send = publisher
        .send(&raw)
        .id(MessageId::new(&outgoing.id))
        .correlation_id(outgoing.correlation);
    if let Some(causation) = outgoing.causation {
        send = send.causation_id(causation);
    }
    // Where the broker can, it drops the second copy; elsewhere the inbox of the receiver does.
    if bus.capabilities().dedup {
        send = send.dedup_id(outgoing.id);
    }
    send.await
}
