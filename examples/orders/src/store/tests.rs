use anyhow::{Result, bail};
use bus::prelude::*;
use tempfile::TempDir;

use super::{Cause, Inbox, Store, Table, relay};
use crate::messages::{Deposit, PaymentEvent};

const COUNTS: Table<u64> = Table::new("counts");

/// A database, a bus, and the handling of a message.
async fn scene() -> (TempDir, Store, BusClient, Context) {
    let directory = TempDir::new().unwrap();
    let store = Store::open(&directory.path().join("a.redb"), Inbox::Kept).unwrap();
    let bus = bus::connect("memory://").await.unwrap();
    let deposit = Deposit {
        customer: "a".into(),
        cents: 1,
    };
    let context = Context::for_test(&bus, &deposit).unwrap();
    (directory, store, bus, context)
}

/// Counts, and publishes that it did.
fn count(work: &mut super::Work<'_>) -> Result<()> {
    let count = work.get(&COUNTS, "a")?.unwrap_or_default();
    work.put(&COUNTS, "a", &(count + 1))?;
    work.publish(&PaymentEvent::Taken { order: "a".into() })
}

async fn state(store: &Store) -> (Option<u64>, u64) {
    let read = store.read(|view| Ok((view.get(&COUNTS, "a")?, view.unpublished()?)));
    read.await.unwrap()
}

#[tokio::test]
async fn a_message_is_applied_once() {
    let (_directory, store, _, context) = scene().await;
    for _ in 0..3 {
        store.once(&context, count).await.unwrap();
    }
    assert_eq!(state(&store).await, (Some(1), 1));
}

#[tokio::test]
async fn an_effect_that_fails_leaves_nothing() {
    let (_directory, store, _, context) = scene().await;
    let failed = store.once(&context, |work| {
        count(work)?;
        bail!("no luck")
    });
    assert!(failed.await.is_err());
    assert_eq!(state(&store).await, (None, 0));
    store.once(&context, count).await.unwrap();
    assert_eq!(state(&store).await, (Some(1), 1));
}

#[tokio::test]
async fn what_was_not_published_is_published_in_the_next_life_under_its_id() {
    let (directory, store, bus, context) = scene().await;
    let mut events = bus.broadcast::<PaymentEvent>().await.unwrap();
    store.once(&context, count).await.unwrap();
    drop(store);
    let store = Store::open(&directory.path().join("a.redb"), Inbox::Kept).unwrap();
    let waiting = store.read(|view| super::outbox::oldest(view.transaction(), 9));
    let id = waiting.await.unwrap()[0].1.id.clone();
    assert!(relay::drain(&store, &bus).await.unwrap());
    assert!(!relay::drain(&store, &bus).await.unwrap(), "it is gone");
    let event = events.next().await.unwrap().unwrap();
    let cause = context.metadata().id.to_string();
    assert_eq!(event.metadata().id.to_string(), id);
    assert_eq!(event.metadata().causation_id.as_deref(), Some(&*cause));
    assert_eq!(event.metadata().correlation_id.as_deref(), Some(&*cause));
}

#[tokio::test]
async fn the_time_is_a_cause_without_a_message() {
    let (_directory, store, _, _) = scene().await;
    let cause = Cause {
        correlation: "order-7".into(),
        message: None,
    };
    store.transact(cause, count).await.unwrap();
    let waiting = store.read(|view| super::outbox::oldest(view.transaction(), 9));
    let outgoing = &waiting.await.unwrap()[0].1;
    assert_eq!(outgoing.correlation, "order-7");
    assert_eq!(outgoing.causation, None);
}
