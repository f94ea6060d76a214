//! Bugs of publishing.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bus_api::{Bus, Headers, Message, MessageId, Published, Result, Topic};

use crate::planted::bug::Bug;
use crate::planted::{Plant, plant};

pub(crate) fn plants() -> Vec<Plant> {
    vec![
        plant!(
            LosesEveryNth,
            "confirms every seventh publish without storing it",
            "p1_confirmed_is_stored"
        ),
        plant!(
            LosesTheFirst,
            "confirms the first message of a topic without storing it when another one follows at once",
            "p1_the_first_messages_of_new_topics_are_stored"
        ),
        plant!(
            StoresTwice,
            "stores every seventh message twice",
            "s3_fault_free_runs_have_no_duplicate"
        ),
        plant!(
            EmptyIsDeletion,
            "takes an empty payload for a deletion",
            "p4_payloads_arrive_byte_for_byte"
        ),
        plant!(
            CutsPayload,
            "cuts payloads at 64 KiB",
            "p4_payloads_arrive_byte_for_byte"
        ),
        plant!(
            DropsEmptyHeader,
            "drops a header whose value is empty",
            "p4_header_values_arrive_intact"
        ),
        plant!(
            TrimsHeader,
            "trims header values",
            "p4_header_values_arrive_intact"
        ),
        plant!(DropsKey, "drops the key", "p5_every_attribute_arrives"),
        plant!(
            DropsCorrelation,
            "drops the correlation id",
            "p5_every_attribute_arrives"
        ),
        plant!(
            DropsContentType,
            "drops the content type",
            "p5_every_attribute_arrives"
        ),
        plant!(
            NewIdentity,
            "gives every message a new id",
            "p5_every_attribute_arrives"
        ),
        plant!(
            DedupAcrossTopics,
            "dedups across topics",
            "p2_dedup_is_per_topic"
        ),
        plant!(
            NoDedup,
            "ignores dedup ids",
            "p2_the_second_of_a_dedup_id_is_a_duplicate"
        ),
        plant!(
            DedupByPayload,
            "takes equal payloads for duplicates",
            "p2_without_dedup_id_nothing_is_a_duplicate"
        ),
        plant!(
            BatchFailsWhole,
            "fails a whole batch for one message",
            "p3_one_bad_message_fails_alone"
        ),
        plant!(
            BatchReversed,
            "returns the results of a batch in reverse",
            "p3_results_come_in_input_order"
        ),
        plant!(
            BatchReordered,
            "stores a batch in reverse",
            "p7_one_key_is_stored_in_order"
        ),
        plant!(
            ForgetsExpiry,
            "forgets when a message expires",
            "r8_expired_messages_are_not_handled"
        ),
    ]
}

/// Changes messages on their way to the broker.
macro_rules! changes_messages {
    ($(#[$doc:meta])* $name:ident, |$message:ident| $change:block) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        struct $name;

        #[async_trait]
        impl Bug for $name {
            async fn publish(&self, bus: &dyn Bus, mut batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
                for $message in batch.iter_mut().map(Arc::make_mut) $change
                bus.publish(batch).await
            }
        }
    };
}

changes_messages!(CutsPayload, |message| {
    message.payload = message.payload.slice(..message.payload.len().min(64 << 10));
});
changes_messages!(DropsEmptyHeader, |message| {
    message.headers = kept(&message.headers, |value| {
        (!value.is_empty()).then_some(value)
    });
});
changes_messages!(TrimsHeader, |message| {
    message.headers = kept(&message.headers, |value| Some(value.trim()));
});
changes_messages!(DropsKey, |message| {
    message.key = None;
});
changes_messages!(DropsCorrelation, |message| {
    message.metadata.correlation_id = None;
});
changes_messages!(DropsContentType, |message| {
    message.metadata.content_type = None;
});
changes_messages!(NewIdentity, |message| {
    message.metadata.id = MessageId::new(&format!("{}-again", message.metadata.id));
});
changes_messages!(NoDedup, |message| {
    message.dedup_id = None;
});
changes_messages!(DedupByPayload, |message| {
    let text = format!("{:?}", message.payload);
    message.dedup_id.get_or_insert(text.into());
});
changes_messages!(ForgetsExpiry, |message| {
    message.metadata.expires_in = None;
});

fn kept(headers: &Headers, keep: impl Fn(&str) -> Option<&str>) -> Headers {
    let mut out = Headers::new();
    for (name, value) in headers.iter() {
        if let Some(value) = keep(value) {
            out.set(name, value);
        }
    }
    out
}

/// What an honest confirmation of nothing looks like.
const UNSTORED: Published = Published {
    position: None,
    stored_at: None,
    duplicate: false,
};

#[derive(Debug, Default)]
struct LosesEveryNth(AtomicU64);

#[async_trait]
impl Bug for LosesEveryNth {
    async fn publish(&self, bus: &dyn Bus, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        let mut results = Vec::with_capacity(batch.len());
        for message in batch {
            if self.0.fetch_add(1, Ordering::Relaxed) % 7 == 6 {
                results.push(Ok(UNSTORED));
            } else {
                results.extend(bus.publish(vec![message]).await);
            }
        }
        results
    }
}

#[derive(Debug, Default)]
struct LosesTheFirst(Mutex<HashMap<Topic, u64>>);

impl LosesTheFirst {
    /// How many were published to a topic before.
    fn count(&self, topic: &Topic, more: u64) -> u64 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(topic.clone()).or_default();
        let before = *count;
        *count += more;
        before
    }
}

#[async_trait]
impl Bug for LosesTheFirst {
    async fn publish(&self, bus: &dyn Bus, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        let mut results = Vec::with_capacity(batch.len());
        for message in batch {
            if self.count(&message.topic, 1) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if self.count(&message.topic, 0) > 1 {
                    results.push(Ok(UNSTORED));
                    continue;
                }
            }
            results.extend(bus.publish(vec![message]).await);
        }
        results
    }
}

#[derive(Debug, Default)]
struct StoresTwice(AtomicU64);

#[async_trait]
impl Bug for StoresTwice {
    async fn publish(&self, bus: &dyn Bus, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        for message in &batch {
            if self.0.fetch_add(1, Ordering::Relaxed) % 7 == 6 {
                bus.publish(vec![Arc::clone(message)]).await;
            }
        }
        bus.publish(batch).await
    }
}

#[derive(Debug, Default)]
struct EmptyIsDeletion;

#[async_trait]
impl Bug for EmptyIsDeletion {
    async fn publish(&self, bus: &dyn Bus, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        let empty: Vec<bool> = batch
            .iter()
            .map(|message| message.payload.is_empty())
            .collect();
        let full = batch
            .into_iter()
            .filter(|message| !message.payload.is_empty())
            .collect();
        let mut honest = bus.publish(full).await.into_iter();
        empty
            .into_iter()
            .filter_map(|empty| {
                if empty {
                    Some(Ok(UNSTORED))
                } else {
                    honest.next()
                }
            })
            .collect()
    }
}

#[derive(Debug, Default)]
struct DedupAcrossTopics(Mutex<HashSet<Box<str>>>);

#[async_trait]
impl Bug for DedupAcrossTopics {
    async fn publish(&self, bus: &dyn Bus, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        let mut results = Vec::with_capacity(batch.len());
        for message in batch {
            let seen = message.dedup_id.as_ref().is_some_and(|id| {
                !self
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(id.clone())
            });
            if seen {
                results.push(Ok(Published {
                    duplicate: true,
                    ..UNSTORED
                }));
            } else {
                results.extend(bus.publish(vec![message]).await);
            }
        }
        results
    }
}

#[derive(Debug, Default)]
struct BatchFailsWhole;

#[async_trait]
impl Bug for BatchFailsWhole {
    async fn publish(&self, bus: &dyn Bus, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        // What the core itself refuses never gets here: a copy of the biggest message stands for the bad one.
        let results = bus.publish(batch).await;
        match results
            .iter()
            .find_map(|result| result.as_ref().err().cloned())
        {
            Some(error) => results.iter().map(|_| Err(error.clone())).collect(),
            None => results,
        }
    }
}

#[derive(Debug, Default)]
struct BatchReversed;

#[async_trait]
impl Bug for BatchReversed {
    async fn publish(&self, bus: &dyn Bus, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        let mut results = bus.publish(batch).await;
        results.reverse();
        results
    }
}

#[derive(Debug, Default)]
struct BatchReordered;

#[async_trait]
impl Bug for BatchReordered {
    async fn publish(&self, bus: &dyn Bus, mut batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
        batch.reverse();
        let mut results = bus.publish(batch).await;
        results.reverse();
        results
    }
}
