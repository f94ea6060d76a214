//! What the properties are tried with.

use std::time::{Duration, SystemTime};

use bus_api::{
    AttemptRecord, Group, Headers, Message, MessageId, Metadata, Offset, Origin, Pattern, Position,
    SubscriptionId, Targeted, Topic, TraceContext,
};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

pub(crate) fn text() -> impl Strategy<Value = Box<str>> {
    let tricky = select(vec!["a%20b", " \"quoted\" \n", "\"", "%", "é", " "]);
    prop_oneof!["(?s).{0,16}", "[ -~]{0,16}", tricky.prop_map(str::to_owned)].prop_map(Into::into)
}

fn some_text() -> impl Strategy<Value = Box<str>> {
    text().prop_map(|text| if text.is_empty() { "-".into() } else { text })
}

/// Whole microseconds until the year 9999.
pub(crate) fn time() -> impl Strategy<Value = SystemTime> {
    (0_u64..253_402_000_000_000_000)
        .prop_map(|micros| SystemTime::UNIX_EPOCH + Duration::from_micros(micros))
}

fn millis() -> impl Strategy<Value = SystemTime> {
    (0_u64..253_402_000_000_000)
        .prop_map(|millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
}

fn topic() -> impl Strategy<Value = Topic> {
    "[A-Za-z0-9_-]{1,6}(\\.[A-Za-z0-9_-]{1,6}){0,3}".prop_map(|text| Topic::new(text).unwrap())
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let required = (some_text(), some_text(), time());
    let trace = (text(), of(text())).prop_map(|(traceparent, tracestate)| TraceContext {
        traceparent,
        tracestate,
    });
    let optional = (
        (of(some_text()), of(some_text()), of(text()), of(text())),
        (of(text()), of(text()), of(trace), of(any::<u64>())),
    );
    (required, optional).prop_map(|((id, source, time), (first, second))| Metadata {
        event_type: first.0.map(|text| text.into_string().into()),
        content_type: first.1.map(|text| text.into_string().into()),
        subject: first.2,
        dataschema: first.3,
        correlation_id: second.0,
        causation_id: second.1,
        trace: second.2,
        expires_in: second.3.map(Duration::from_millis),
        ..Metadata::new(MessageId::new(&id), (*source).into(), time)
    })
}

/// Names that users may choose, and names of other producers.
fn header_name() -> impl Strategy<Value = String> {
    let tricky = vec![
        "content-type",
        "Content-Type",
        "data",
        "ce_id",
        "ce-id",
        "Ce-Type",
        "ce_other",
        "ce-other",
        "bus-format",
        "bus-h-x",
        "bus-other",
        "Bus-Key",
        "Nats-Msg-Id",
        "X-Name",
        "a:b",
        "",
    ];
    prop_oneof![
        4 => "[a-z0-9][a-z0-9_-]{0,10}",
        1 => "(?s).{0,8}",
        1 => select(tricky).prop_map(str::to_owned),
    ]
}

fn headers() -> impl Strategy<Value = Headers> {
    vec((header_name(), text()), 0..6).prop_map(|pairs| {
        let mut headers = Headers::new();
        for (name, value) in pairs {
            headers.set(name, value);
        }
        headers
    })
}

fn record() -> impl Strategy<Value = AttemptRecord> {
    let numbers = (any::<u32>(), any::<u32>(), any::<bool>());
    (numbers, of(millis()), of(millis())).prop_map(
        |((failures, crashes, started), first_failure, last_failure)| AttemptRecord {
            failures,
            crashes,
            started,
            first_failure,
            last_failure,
        },
    )
}

pub(crate) fn origin() -> impl Strategy<Value = Origin> {
    let place = (some_text(), any::<u64>(), any::<u64>());
    (place, millis(), time()).prop_map(|((log, major, minor), at, stored_at)| Origin {
        position: Position::new((*log).into(), Offset(major, minor), at),
        stored_at,
    })
}

pub(crate) fn subscription() -> impl Strategy<Value = SubscriptionId> {
    ("[A-Za-z0-9_-]{1,8}", topic()).prop_map(|(group, topic)| {
        let pattern = Pattern::new(format!("{topic}.>")).unwrap();
        SubscriptionId::new(Group::new(group).unwrap(), pattern)
    })
}

fn targeted() -> impl Strategy<Value = Targeted> {
    let waiting = (any::<u32>(), of(time()), of(record()));
    (subscription(), origin(), waiting).prop_map(
        |(subscription, origin, (generation, not_before, record))| Targeted {
            subscription,
            origin,
            generation,
            not_before,
            record,
        },
    )
}

pub(crate) fn message() -> impl Strategy<Value = Message> {
    let body = (topic(), metadata(), bytes(24));
    (body, of(bytes(24)), headers(), of(targeted())).prop_map(
        |((topic, metadata, payload), key, headers, targeted)| {
            let mut message = Message::new(topic, metadata, payload);
            message.key = key;
            message.headers = headers;
            message.targeted = targeted.map(Box::new);
            message
        },
    )
}

/// Names that mean something, and any bytes.
pub(crate) fn wire_name() -> impl Strategy<Value = Bytes> {
    let attributes = || {
        select(vec![
            "id",
            "source",
            "specversion",
            "type",
            "time",
            "datacontenttype",
            "subject",
            "expiresin",
            "traceparent",
            "tracestate",
            "other",
        ])
    };
    let own = select(vec![
        "bus-format",
        "bus-topic",
        "bus-key",
        "bus-target",
        "bus-h-x%",
        "content-type",
        "data",
    ]);
    prop_oneof![
        attributes().prop_map(|name| format!("ce_{name}").into()),
        attributes().prop_map(|name| format!("Ce-{name}").into()),
        own.prop_map(Bytes::from),
        bytes(8),
    ]
}

/// Text that is nearly right, and any bytes.
pub(crate) fn wire_value() -> impl Strategy<Value = Bytes> {
    let nearly = select(vec![
        "1",
        "1.0",
        "0",
        "2023-11-14T22:13:20Z",
        "-009999-01-01T00:00:00Z",
        "18446744073709551616",
        "application/cloudevents+json",
        "\"a\\",
        "\"\\\"",
        "%f",
        "%ff",
        "a.b",
        "{\"v\":1}",
        "{\"v\":1,\"group\":\"g\",\"pattern\":\"p\",\"position\":\"a@1-1@1\",\
         \"stored_at\":\"2023-11-14T22:13:20Z\",\"generation\":1,\"record\":\"0100\"}",
    ]);
    prop_oneof![nearly.prop_map(Bytes::from), bytes(12)]
}

/// JSON events that are nearly right, and any bytes.
pub(crate) fn wire_payload() -> impl Strategy<Value = Bytes> {
    let name = select(vec![
        "id",
        "source",
        "specversion",
        "type",
        "time",
        "datacontenttype",
        "data",
        "data_base64",
        "expiresin",
        "x",
        "\\u0041",
        "\\ud800",
    ]);
    let value = select(vec![
        "null",
        "1",
        "-1e400",
        "true",
        "\"\"",
        "\"1.0\"",
        "\"text/plain\"",
        "\"YQ==\"",
        "\"\\ud83d\"",
        "{}",
        "[1,",
        "{\"a\":[]}",
        " 1 ",
        "",
    ]);
    prop_oneof![
        vec((name, value), 0..6).prop_map(|members| {
            let members = members
                .iter()
                .map(|(name, value)| format!("\"{name}\":{value}"));
            format!("{{{}}}", members.collect::<Vec<_>>().join(",")).into()
        }),
        bytes(24),
    ]
}
