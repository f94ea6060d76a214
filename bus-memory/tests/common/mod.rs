//! What the tests of the adapter share.
#![allow(dead_code, unreachable_pub, clippy::expect_used, clippy::unwrap_used)]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bus_api::{
    Delivery, Group, Inbound, Inflow, Message, MessageId, Metadata, Pattern, Receipt, Scope,
    Settlement, SubscriptionId, SubscriptionSpec, Topic,
};
use bytes::Bytes;

/// A test ends within an hour of its own clock, which costs nothing when that is paused.
pub async fn within<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(3600), test)
        .await
        .expect("the test hangs")
}

pub fn topic(text: &str) -> Topic {
    Topic::new(text).unwrap()
}

/// A message that nobody shares yet.
pub fn bare(topic: &str, payload: &str) -> Message {
    let metadata = Metadata::new(
        MessageId::new(payload),
        "test".into(),
        bus_api::clock::now(),
    );
    let topic = Topic::new(topic).unwrap();
    Message::new(topic, metadata, Bytes::copy_from_slice(payload.as_bytes()))
}

pub fn message(topic: &str, payload: &str) -> Arc<Message> {
    Arc::new(bare(topic, payload))
}

pub fn keyed(topic: &str, key: &str, payload: &str) -> Arc<Message> {
    Arc::new(Message {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        ..bare(topic, payload)
    })
}

pub fn group(group: &str, pattern: &str) -> SubscriptionSpec {
    let scope = Scope::Group(Group::new(group).unwrap());
    SubscriptionSpec::new(scope, Pattern::new(pattern).unwrap())
}

pub fn broadcast(pattern: &str) -> SubscriptionSpec {
    SubscriptionSpec::new(Scope::Broadcast, Pattern::new(pattern).unwrap())
}

pub fn id(group: &str, pattern: &str) -> SubscriptionId {
    SubscriptionId::new(Group::new(group).unwrap(), Pattern::new(pattern).unwrap())
}

/// The next deliveries; news about lost ones is passed over.
pub async fn deliveries(inbound: &mut Inbound, max: usize) -> Vec<Delivery> {
    loop {
        if let Inflow::Deliveries(deliveries) = inbound.receiver.receive(max).await.unwrap() {
            return deliveries;
        }
    }
}

pub fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.payload.to_vec()).unwrap()
}

pub fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(body).collect()
}

pub async fn settle(inbound: &Inbound, delivery: &Delivery, settlement: Settlement) {
    settle_all(inbound, vec![(delivery.receipt, settlement)]).await;
}

pub fn ack(inbound: &Inbound, deliveries: &[Delivery]) -> impl Future<Output = ()> + use<> {
    let batch = deliveries
        .iter()
        .map(|delivery| (delivery.receipt, Settlement::Ack))
        .collect();
    settle_all(inbound, batch)
}

/// Borrows nothing while it waits, because a receiver cannot be shared.
fn settle_all(
    inbound: &Inbound,
    batch: Vec<(Receipt, Settlement)>,
) -> impl Future<Output = ()> + use<> {
    let settler = Arc::clone(&inbound.settler);
    async move {
        for result in settler.settle(batch).await {
            result.unwrap();
        }
    }
}

/// Nothing arrives, however long one waits.
pub async fn nothing(inbound: &mut Inbound) {
    let waited = tokio::time::timeout(Duration::from_secs(5), deliveries(inbound, 1)).await;
    assert!(waited.is_err(), "{:?}", waited.map(|got| bodies(&got)));
}
