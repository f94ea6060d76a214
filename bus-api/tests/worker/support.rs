//! What the tests of workers share.

use std::sync::Arc;
use std::time::Duration;

use bus_api::{BusClient, Raw, Settings, Topic};
use bus_derive::Event;
use bus_memory::MemoryBus;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(
    crate = "bus_api",
    type = "order.placed",
    alias = "order.created",
    topic = "orders.placed",
    key = "id"
)]
pub(crate) struct Placed {
    pub(crate) id: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(
    crate = "bus_api",
    type = "order.cancelled",
    topic = "orders.cancelled",
    key = "id"
)]
pub(crate) struct Cancelled {
    pub(crate) id: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "mail.sent", topic = "mail.sent")]
pub(crate) struct MailSent {
    pub(crate) id: u64,
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn bus() -> BusClient {
    BusClient::new(Arc::new(MemoryBus::new()), Settings::default())
}

/// The time-out of every test, in virtual time.
pub(crate) async fn within<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(secs(3_600), test)
        .await
        .expect("the test ends")
}

/// Where handlers note what they saw.
pub(crate) struct Notes<T>(mpsc::UnboundedReceiver<T>);

pub(crate) struct Noter<T>(mpsc::UnboundedSender<T>);

impl<T> Clone for Noter<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

pub(crate) fn notes<T>() -> (Noter<T>, Notes<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Noter(sender), Notes(receiver))
}

impl<T> Noter<T> {
    pub(crate) fn note(&self, what: T) {
        let _ = self.0.send(what);
    }
}

impl<T> Notes<T> {
    pub(crate) async fn next(&mut self) -> T {
        self.0.recv().await.expect("a note")
    }

    pub(crate) async fn take(&mut self, count: usize) -> Vec<T> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(self.next().await);
        }
        all
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn none(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// A message of another producer.
pub(crate) fn raw(topic: &str, event_type: Option<&str>, payload: &'static str) -> Raw {
    let mut raw = Raw::new(Topic::new(topic).unwrap(), "", "application/json", payload);
    raw.event_type = event_type.map(|name| name.to_owned().into());
    raw
}

/// Waits until the group has so many dead letters, and returns their kinds and attempts.
pub(crate) async fn dead_letters(bus: &BusClient, group: &str, count: usize) -> Vec<(String, u32)> {
    loop {
        let page = bus
            .dead_letters(group)
            .page(&bus_api::Filter::default(), None, 100)
            .await
            .unwrap();
        if page.entries.len() >= count {
            let entry = |entry: &bus_api::DeadEntry| (entry.error.kind.to_string(), entry.attempts);
            return page.entries.iter().map(entry).collect();
        }
        tokio::time::sleep(ms(20)).await;
    }
}

/// Waits until the group has nothing left to handle.
pub(crate) async fn settled(bus: &BusClient, group: &str) {
    loop {
        let all = bus.subscriptions().list().await.unwrap();
        if all
            .iter()
            .filter(|info| info.id.group.as_str() == group)
            .all(|info| info.lag == 0)
        {
            return;
        }
        tokio::time::sleep(ms(20)).await;
    }
}
