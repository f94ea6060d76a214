//! What happens to a namespace behind the bus's back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bus_api::{Error, Namespace, Result};
use bus_conformance::Foreign;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::groups::GroupInfo;
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::PATIENCE;
use super::evict::Coordinator;
use crate::shared_broker::failed;

/// Stores a message of another producer.
pub(super) async fn publish(
    client: ClientConfig,
    log: String,
    topic: &str,
    message: Foreign,
) -> Result<()> {
    let mut headers = OwnedHeaders::new();
    let mut add = |key: &str, value: &[u8]| {
        let value = Some(value);
        headers = headers.clone().insert(Header { key, value });
    };
    if topic.contains('.') {
        add("bus-topic", topic.as_bytes());
    }
    let payload = match message {
        Foreign::Plain { payload, headers } => {
            for (name, value) in &headers {
                add(name, value.as_bytes());
            }
            payload
        }
        Foreign::Structured { json } => {
            add("content-type", b"application/cloudevents+json");
            json
        }
        Foreign::Malformed { payload } => {
            add("ce_specversion", b"1.0");
            add("ce_id", b"\xff\xfe");
            payload
        }
        _ => return Err(failed("this kind of foreign message is not known")),
    };
    let written = tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = client.create().map_err(failed)?;
        let record = BaseRecord::<[u8], [u8], ()>::to(&log)
            .payload(&payload[..])
            .headers(headers);
        producer.send(record).map_err(|(error, _)| failed(error))?;
        producer.flush(PATIENCE).map_err(failed)
    });
    written.await.map_err(failed)?
}

/// Sends a request with a reply address of its own making; whether anything came to that address.
pub(super) async fn forge(
    client: ClientConfig,
    namespace: &Namespace,
    topic: &str,
    wait: Duration,
) -> Result<bool> {
    // A reply that is not for a requester of this namespace could only go to another topic.
    let secret = format!("{namespace}.t.forged");
    let requests = format!("{namespace}.q.0");
    let topic = topic.to_owned();
    let sent = tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = client.create().map_err(failed)?;
        let mut headers = OwnedHeaders::new();
        let address = format!("{secret}/0/00000000000000000000000000000000");
        for (key, value) in [
            ("bus-reply-to", &*address),
            ("bus-timeout", "10000"),
            ("ce_specversion", "1.0"),
            ("ce_id", "forged"),
            ("ce_source", "forger"),
            ("ce_type", "conformance.question"),
            ("bus-format", "1"),
            ("bus-topic", &*topic),
            ("content-type", "application/json"),
        ] {
            let value = Some(value);
            headers = headers.insert(Header { key, value });
        }
        let record = BaseRecord::<[u8], [u8], ()>::to(&requests)
            .payload(&b"{\"number\":1}"[..])
            .headers(headers);
        producer.send(record).map_err(|(error, _)| failed(error))?;
        producer.flush(PATIENCE).map_err(failed)?;
        let mut client = client.clone();
        let consumer: BaseConsumer = client
            .set("group.id", "forger")
            .set("auto.offset.reset", "earliest")
            .create()
            .map_err(failed)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&secret, 0, Offset::Beginning)
            .map_err(failed)?;
        consumer.assign(&list).map_err(failed)?;
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                return Ok::<bool, Error>(message.offset() >= 0);
            }
        }
        Ok(false)
    });
    sent.await.map_err(failed)?
}

/// Takes all members out of a group and deletes it with its positions.
pub(super) async fn lose_group(
    client: ClientConfig,
    address: SocketAddr,
    group: String,
) -> Result<()> {
    let lost = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = client.create().map_err(failed)?;
        let mut coordinator = Coordinator::connect(address).map_err(failed)?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let found = consumer
                .fetch_group_list(Some(&group), PATIENCE)
                .map_err(failed)?;
            for member in found.groups().iter().flat_map(GroupInfo::members) {
                coordinator.evict(&group, member.id()).map_err(failed)?;
            }
            while let Some(member) = coordinator.newer_member(&group).map_err(failed)? {
                coordinator.evict_newer(&group, &member).map_err(failed)?;
            }
            // A member may have come back already.
            if coordinator.delete(&group).map_err(failed)? {
                return Ok(());
            }
        }
        Err(failed(
            "its members come back faster than it can be deleted",
        ))
    });
    lost.await.map_err(failed)?
}

/// Deletes a log.
pub(super) async fn delete(client: ClientConfig, log: String) -> Result<()> {
    /// A client that makes it again while nobody looks is not waited for longer.
    const NOTICED: Duration = Duration::from_secs(2);
    const POLL: Duration = Duration::from_millis(10);
    let admin: AdminClient<DefaultClientContext> = client.create().map_err(failed)?;
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let results = admin
        .delete_topics(&[&log], &options)
        .await
        .map_err(failed)?;
    for result in results {
        result.map_err(|(name, code)| failed(format!("{name}: {code}")))?;
    }
    // For a moment the broker goes on answering as if it were there.
    let noticed = tokio::task::spawn_blocking(move || {
        let until = Instant::now() + NOTICED;
        while Instant::now() < until {
            let found = admin.inner().fetch_metadata(Some(&log), PATIENCE);
            let is_there = |topic: &MetadataTopic| topic.error().is_none();
            if !found.map_err(failed)?.topics().iter().any(is_there) {
                break;
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    });
    noticed.await.map_err(failed)?
}

/// Replaces what is committed of a group by commits of a newer version.
pub(super) async fn store_newer(
    mut client: ClientConfig,
    group: String,
    prefix: String,
) -> Result<()> {
    let stored = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = client.set("group.id", &group).create().map_err(failed)?;
        let found = consumer.fetch_metadata(None, PATIENCE).map_err(failed)?;
        let mut list = TopicPartitionList::new();
        for topic in found.topics() {
            if topic.name().starts_with(&prefix) {
                for partition in topic.partitions() {
                    list.add_partition(topic.name(), partition.id());
                }
            }
        }
        let mut committed = consumer.committed_offsets(list, PATIENCE).map_err(failed)?;
        let places: Vec<(String, i32)> = committed
            .elements()
            .iter()
            .filter(|element| matches!(element.offset(), Offset::Offset(_)))
            .map(|element| (element.topic().to_owned(), element.partition()))
            .collect();
        let mut newer = TopicPartitionList::new();
        for (topic, partition) in places {
            let Some(element) = committed.find_partition(&topic, partition) else {
                continue;
            };
            let offset = element.offset();
            let mut element = newer.add_partition(&topic, partition);
            element.set_offset(offset).map_err(failed)?;
            // Version 2 and seven more bytes, in base64.
            element.set_metadata("AgAAAAAAAAA");
        }
        committed = newer;
        consumer
            .commit(&committed, CommitMode::Sync)
            .map_err(failed)
    });
    stored.await.map_err(failed)?
}
