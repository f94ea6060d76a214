//! Messages of other producers, damaged ones and newer ones, row by row.

use std::sync::Arc;
use std::time::SystemTime;

use bus_api::cloudevents::{self, Decoded, Extent, Style};
use bus_api::{ErrorKind, Message, MessageId, Metadata, Topic};
use bytes::Bytes;

use crate::{Pairs, STYLES, known, position, read};

fn pairs(rows: &[(&'static str, &'static [u8])]) -> Pairs {
    let rows = rows.iter().copied();
    rows.map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn read_rows(
    style: Style,
    rows: &[(&'static str, &'static [u8])],
    payload: &'static str,
) -> Decoded {
    let position = position();
    read(
        style,
        Extent::Usual,
        &pairs(rows),
        &payload.into(),
        &known(&position),
    )
    .unwrap()
}

#[test]
fn what_a_message_does_not_say_is_filled_in() {
    let position = position();
    for style in STYLES {
        let Decoded { message, malformed } = read_rows(style, &[("tenant", b"bus-h-a%20b")], "x");
        assert_eq!(malformed, None);
        let metadata = &message.metadata;
        assert_eq!(metadata.id.to_string(), position.to_string());
        assert_eq!((&metadata.event_type, &*metadata.source), (&None, "test"));
        assert_eq!(metadata.time, position.stored_at());
        assert_eq!(message.topic.as_str(), "known.topic");
        if style == Style::Redis {
            assert_eq!(message.payload, "bus-h-a%20b");
        } else {
            assert_eq!(message.headers.get("tenant"), Some("bus-h-a%20b"));
            assert_eq!(message.payload, "x");
        }
    }
}

#[test]
fn each_wire_has_its_own_rules() {
    let Decoded { message, .. } = read_rows(Style::Nats, &[("bus-h-a", b"%20")], "");
    assert_eq!(message.headers.get("bus-h-a"), Some("%20"));

    let rows: [(_, &[u8]); 3] = [
        ("Nats-Msg-Id", b"1"),
        ("CE-Type", b"\"a b\""),
        ("Content-Type", b"text/plain"),
    ];
    let Decoded { message, malformed } = read_rows(Style::Nats, &rows, "x");
    assert_eq!((message.headers.len(), malformed), (0, None));
    assert_eq!(message.metadata.event_type.as_deref(), Some("a b"));
    assert_eq!(message.metadata.content_type.as_deref(), Some("text/plain"));

    let Decoded { message, .. } = read_rows(Style::Kafka, &[("bus-topic", b"a.b")], "x");
    assert_eq!(message.topic.as_str(), "a.b");
    let Decoded { message, .. } = read_rows(Style::Nats, &[("bus-topic", b"a.b")], "x");
    assert_eq!(message.topic.as_str(), "known.topic");

    let rows: [(_, &[u8]); 2] = [("ce_type", b"t"), ("other", b"o")];
    let Decoded { message, .. } = read_rows(Style::Redis, &rows, "");
    assert_eq!(
        (message.payload.len(), message.headers.get("other")),
        (0, Some("o"))
    );
}

#[test]
fn structured_events_are_unpacked() {
    for style in STYLES {
        let event = r#"{"specversion":"1.0","id":"7","source":"/s","type":"t","partitionid":3,
            "subject":null,"data": {"a" :1.0} }"#;
        let name = if style == Style::Nats {
            "Content-Type"
        } else {
            "content-type"
        };
        let rows = [
            (name, &b"application/cloudevents+json"[..]),
            ("data", event.as_bytes()),
        ];
        let rows = if style == Style::Redis {
            &rows[..]
        } else {
            &rows[..1]
        };
        let Decoded { message, malformed } = read_rows(style, rows, event);
        assert_eq!(malformed, None);
        assert_eq!(message.payload, r#"{"a" :1.0}"#);
        let metadata = &message.metadata;
        assert_eq!(metadata.content_type.as_deref(), Some("application/json"));
        assert_eq!(
            (metadata.id.to_string().as_str(), &*metadata.source),
            ("7", "/s")
        );
        let extension = if style == Style::Nats {
            "ce-partitionid"
        } else {
            "ce_partitionid"
        };
        assert_eq!(message.headers.get(extension), Some("3"));
    }
}

fn structured(event: &'static str) -> Decoded {
    read_rows(
        Style::Kafka,
        &[("content-type", b"application/cloudevents")],
        event,
    )
}

#[test]
fn structured_data_is_json_text_or_base64() {
    for (event, payload, content_type) in [
        (r#"{"data_base64":"/wA="}"#, &b"\xff\0"[..], None),
        (
            r#"{"datacontenttype":"text/plain","data":"a\nb"}"#,
            b"a\nb",
            Some("text/plain"),
        ),
        (
            r#"{"datacontenttype":"a/b+json","data":"a"}"#,
            b"\"a\"",
            Some("a/b+json"),
        ),
        (r#"{"id":"7"}"#, b"", None),
    ] {
        let Decoded { message, malformed } = structured(event);
        assert_eq!(malformed, None, "{event}");
        assert_eq!(message.payload, payload, "{event}");
        assert_eq!(
            message.metadata.content_type.as_deref(),
            content_type,
            "{event}"
        );
    }
}

#[test]
fn damaged_events_say_where_and_quote_nothing() {
    for (event, problem) in [
        ("secret", "a JSON object"),
        ("[]", "a JSON object"),
        (r#"{"specversion":"2.0","data":1}"#, "`specversion`"),
        (r#"{"time":"secret","data":1}"#, "`time`"),
        (r#"{"data_base64":"secret!"}"#, "base64"),
        (r#"{"id":{"secret":1},"data":1}"#, "`id`"),
    ] {
        let Decoded { malformed, .. } = structured(event);
        let malformed = malformed.unwrap();
        assert!(malformed.contains(problem), "{malformed}");
        assert!(!malformed.contains("secret"), "{malformed}");
    }
    for (name, value, problem) in [
        ("ce_id", &b"\xff"[..], "`id` is not UTF-8"),
        ("ce_time", b"secret", "`time`"),
        ("ce_expiresin", b"-1", "`expiresin`"),
        ("ce_specversion", b"0.3", "`specversion`"),
        ("bus-topic", b"a..b", "`bus-topic`"),
        ("bus-format", b"x", "`bus-format`"),
        ("content-type", b"\xff", "`datacontenttype`"),
    ] {
        let Decoded { message, malformed } =
            read_rows(Style::Kafka, &[(name, value), ("ce_type", b"t")], "p");
        let malformed = malformed.unwrap();
        assert!(malformed.contains(problem), "{malformed}");
        assert!(!malformed.contains("secret"), "{malformed}");
        assert_eq!(message.metadata.event_type.as_deref(), Some("t"));
        assert_eq!(message.payload, "p");
    }
    let rows: [(_, &[u8]); 2] = [("bus-format", b"1"), ("bus-target", b"{}")];
    let malformed = read_rows(Style::Kafka, &rows, "p").malformed.unwrap();
    assert!(malformed.contains("bus-target"), "{malformed}");
}

#[test]
fn a_newer_format_is_refused_and_not_taken_for_empty() {
    let position = position();
    let newer_record = br#"{"v":1,"group":"g","pattern":"p","position":"a@1-1@1","generation":1,
        "stored_at":"2023-11-14T22:13:20Z","record":"ff00"}"#;
    for (name, value) in [
        ("bus-format", &b"2"[..]),
        ("bus-target", br#"{"v":2}"#),
        ("bus-target", newer_record),
    ] {
        let pairs = pairs(&[("bus-format", b"1"), (name, value)]);
        let read = read(
            Style::Kafka,
            Extent::Usual,
            &pairs,
            &Bytes::new(),
            &known(&position),
        );
        assert_eq!(
            read.unwrap_err().kind(),
            ErrorKind::Unsupported,
            "{value:?}"
        );
    }
    let metadata = Metadata::new(MessageId::new("1"), "s".into(), SystemTime::UNIX_EPOCH);
    let message = Message::new(Topic::new("a").unwrap(), metadata, Bytes::new());
    let newer = cloudevents::dead_letter_from(&[2, b'{', b'}'], Arc::new(message));
    assert_eq!(newer.unwrap_err().kind(), ErrorKind::Unsupported);
}
