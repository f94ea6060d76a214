//! P5 and P6: what travels beside the payload, and messages of other producers.

use std::collections::HashSet;
use std::time::Duration;

use bus_api::{Message, MessageId, Metadata, Topic, TraceContext, clock};
use bytes::Bytes;

use crate::case::{Case, case};
use crate::context::Context;
use crate::factory::{Control, Foreign};
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Note, eventually, group, ms, secs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(p5_every_attribute_arrives),
        case!(p5_an_absent_attribute_stays_absent),
        case!(p5_the_bus_fills_id_type_source_time_and_content_type),
        case!(p5_attributes_survive_a_redelivery),
        case!(p6_a_plain_foreign_message_is_delivered).with(&[Control::Foreign]),
        case!(p6_a_structured_cloudevent_is_delivered).with(&[Control::Foreign]),
        case!(p6_a_malformed_message_is_dead_lettered).with(&[Control::Foreign]),
    ]
}

/// A message with every attribute, each with a value that is easily mangled.
fn full(topic: &str) -> Result<Message, Violation> {
    // Whole milliseconds: what every wire form holds.
    let time = std::time::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let metadata = Metadata {
        event_type: Some("conformance.full ü".into()),
        content_type: Some("application/octet-stream".into()),
        subject: Some("a subject with spaces".into()),
        dataschema: Some("https://example.org/schema?a=b%20c".into()),
        correlation_id: Some("correlation/漢字".into()),
        causation_id: Some("causation\nline".into()),
        trace: Some(TraceContext {
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
            tracestate: Some("vendor=a,other=b".into()),
        }),
        expires_in: Some(Duration::from_secs(3600)),
        ..Metadata::new(
            MessageId::new("any text / as an id"),
            "source://ä b".into(),
            time,
        )
    };
    let mut message = Message::new(Topic::new(topic)?, metadata, Bytes::from_static(b"\0\xff"));
    message.key = Some(Bytes::from_static(b"\0key\xff"));
    message.headers.insert("tenant", "a")?;
    Ok(message)
}

async fn p5_every_attribute_arrives(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let sent = full("a.b")?;
    for published in client
        .connection
        .bus
        .publish(vec![sent.clone().into()])
        .await
    {
        published?;
    }
    let mut inbox = client.join(group("g", "a.b")).await?;
    let parcel = inbox.parcel().await?;
    let envelope = parcel.envelope();
    ensure_eq!(envelope.metadata, sent.metadata, "the attributes");
    ensure_eq!(envelope.key, sent.key, "the key");
    ensure_eq!(envelope.headers, sent.headers, "the headers");
    ensure_eq!(envelope.topic, sent.topic, "the topic");
    ensure_eq!(parcel.payload(), &sent.payload, "the payload");
    parcel.ack().await
}

/// An absent attribute, an empty one and a default one are three things.
async fn p5_an_absent_attribute_stays_absent(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let metadata = Metadata::new(
        MessageId::new("0190d6c4-3c2a-7a5e-8000-000000000001"),
        "s".into(),
        std::time::UNIX_EPOCH + Duration::from_millis(1_700_000_000_000),
    );
    let bare = Message::new(Topic::new("a.b")?, metadata, Bytes::new());
    let mut keyed = bare.clone();
    keyed.key = Some(Bytes::new());
    keyed.metadata.id = MessageId::new("0190D6C4-3C2A-7A5E-8000-000000000002");
    for published in client
        .connection
        .bus
        .publish(vec![bare.clone().into(), keyed.clone().into()])
        .await
    {
        published?;
    }
    let mut inbox = client.join(group("g", "a.b")).await?;
    for _ in 0..2 {
        let parcel = inbox.parcel().await?;
        let sent = if parcel.envelope().metadata.id == bare.metadata.id {
            &bare
        } else {
            &keyed
        };
        ensure_eq!(parcel.envelope().metadata, sent.metadata, "attributes");
        ensure_eq!(
            parcel.envelope().key,
            sent.key,
            "no key and the empty key are two things"
        );
        ensure!(parcel.envelope().headers.is_empty(), "headers from nowhere");
        parcel.ack().await?;
    }
    Ok(())
}

async fn p5_the_bus_fills_id_type_source_time_and_content_type(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", ">")).await?;
    let before = clock::now();
    let mut ids = HashSet::new();
    for number in 0..50 {
        let confirmed = client.publish(&Note::new("a.b", number)).await?;
        ids.insert(confirmed.id);
    }
    ensure_eq!(ids.len(), 50, "different ids of 50 messages");
    let after = clock::now();
    for _ in 0..50 {
        let token = inbox.next().await?;
        let metadata = &token.envelope().metadata;
        ensure!(
            ids.remove(&metadata.id),
            "id {} was not what publish returned, or came twice",
            metadata.id
        );
        ensure_eq!(metadata.event_type.as_deref(), Some(Note::TYPE), "the type");
        ensure_eq!(&*metadata.source, "conformance", "the source");
        ensure_eq!(
            metadata.content_type.as_deref(),
            Some("application/json"),
            "the content type"
        );
        ensure!(
            metadata.time + ms(1) >= before && metadata.time <= after,
            "time {:?} is not when it was published",
            metadata.time
        );
        ensure!(
            metadata.subject.is_none()
                && metadata.correlation_id.is_none()
                && metadata.causation_id.is_none()
                && metadata.expires_in.is_none(),
            "attributes from nowhere: {metadata:?}"
        );
        token.ack().await?;
    }
    Ok(())
}

async fn p5_attributes_survive_a_redelivery(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let sent = full("a.b")?;
    for published in client
        .connection
        .bus
        .publish(vec![sent.clone().into()])
        .await
    {
        published?;
    }
    let mut inbox = client.join(group("g", "a.b")).await?;
    inbox.parcel().await?.nack().await?;
    inbox.parcel().await?.nack_after(ms(100)).await?;
    let parcel = inbox.parcel().await?;
    ensure_eq!(parcel.envelope().metadata, sent.metadata, "the attributes");
    ensure_eq!(parcel.envelope().key, sent.key, "the key");
    ensure_eq!(parcel.payload(), &sent.payload, "the payload");
    parcel.ack().await
}

async fn p6_a_plain_foreign_message_is_delivered(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "foreign")).await?;
    let payload = Bytes::from_static(b"{\"plain\": true}");
    let foreign = Foreign::Plain {
        payload: payload.clone(),
        headers: vec![("X-Other".to_owned(), "value".to_owned())],
    };
    context
        .factory()
        .publish_foreign(context.namespace(), "foreign", foreign)
        .await?;
    let parcel = inbox.parcel().await?;
    // Only now: without a key there is no order.
    client.publish(&Note::new("foreign", 1)).await?;
    ensure_eq!(parcel.payload(), &payload, "the payload");
    let metadata = &parcel.envelope().metadata;
    ensure_eq!(metadata.event_type, None, "a type that nobody wrote");
    ensure!(!metadata.id.to_string().is_empty(), "an id is filled in");
    let id = metadata.id.clone();
    let own = inbox.next().await?;
    ensure_eq!(own.number(), 1, "the stream goes on");
    own.ack().await?;
    parcel.nack().await?;
    // What the broker knows identifies it, so the filled-in id is the same each time.
    let again = inbox.parcel().await?;
    ensure_eq!(again.envelope().metadata.id, id, "the id of a redelivery");
    again.ack().await
}

async fn p6_a_structured_cloudevent_is_delivered(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "foreign")).await?;
    let json = Bytes::from_static(
        br#"{"specversion":"1.0","id":"x-7","type":"com.example.thing","source":"/other",
            "time":"2024-01-02T03:04:05.678Z","subject":"s","datacontenttype":"application/json",
            "correlationid":"c-1","data":{"a":1}}"#,
    );
    context
        .factory()
        .publish_foreign(context.namespace(), "foreign", Foreign::Structured { json })
        .await?;
    let parcel = inbox.parcel().await?;
    let metadata = &parcel.envelope().metadata;
    ensure_eq!(metadata.id.to_string(), "x-7", "the id");
    ensure_eq!(
        metadata.event_type.as_deref(),
        Some("com.example.thing"),
        "the type"
    );
    ensure_eq!(&*metadata.source, "/other", "the source");
    ensure_eq!(metadata.subject.as_deref(), Some("s"), "the subject");
    ensure_eq!(
        metadata.content_type.as_deref(),
        Some("application/json"),
        "the content type"
    );
    let data: serde_json::Value =
        serde_json::from_slice(parcel.payload()).map_err(Violation::new)?;
    ensure_eq!(data, serde_json::json!({"a": 1}), "the data");
    parcel.ack().await
}

async fn p6_a_malformed_message_is_dead_lettered(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let want = group("g", "foreign");
    let mut inbox = client.join(want.clone()).await?;
    client.publish(&Note::new("foreign", 1)).await?;
    context
        .factory()
        .publish_foreign(
            context.namespace(),
            "foreign",
            Foreign::Malformed {
                payload: Bytes::from_static(b"\xff\0malformed"),
            },
        )
        .await?;
    client.publish(&Note::new("foreign", 2)).await?;
    // Without a key there is no order.
    let mut expected = HashSet::from([1, 2]);
    while !expected.is_empty() {
        let token = inbox.next_within(secs(20)).await?;
        ensure!(
            expected.remove(&token.number()),
            "{} came instead of {expected:?}",
            token.number()
        );
        token.ack().await?;
    }
    let store = client.connection.bus.dead_letters();
    let group = want.id()?.group;
    eventually("the malformed message is a dead letter", || async {
        Ok(store.count(&group).await? == 1)
    })
    .await?;
    let page = store.page(&group, None, 10).await?;
    for entry in page.entries {
        ensure_eq!(entry.error.kind, "malformed", "the kind of its error");
        ensure_eq!(
            entry.message.payload,
            &b"\xff\0malformed"[..],
            "its raw payload"
        );
    }
    inbox.quiet().await?;
    let info = client.info(&want).await?;
    ensure_eq!(info.lag, 0, "unsettled messages");
    Ok(())
}
