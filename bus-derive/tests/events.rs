//! What derived events say and how they are written, in every codec.
#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::fmt::Debug;

use bus_api::{Codec, Codecs, ErrorKind, Event, EventName, Json, MessagePack, Octets};
use bus_derive::Event;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Through every codec that can hold it and back.
fn round_trip<E: Event + PartialEq + Debug>(event: &E) {
    for codec in [&Json as &dyn Codec, &MessagePack] {
        let payload = event.encode(codec).unwrap();
        let name = event.event_type();
        assert_eq!(&E::decode(Some(&name), &payload, codec).unwrap(), event);
        assert!(E::takes(&name));
        assert!(!E::takes("no.such.type"));
        let other = E::decode(Some("no.such.type"), &payload, codec).unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Decode);
    }
}

fn json(event: &impl Event) -> String {
    String::from_utf8(event.encode(&Json).unwrap().to_vec()).unwrap()
}

fn patterns<E: Event>() -> Vec<(String, String)> {
    let types = E::types().unwrap().into_iter();
    types
        .map(|t| (t.name.into_owned(), t.pattern.to_string()))
        .collect()
}

fn key(event: &impl Event) -> Option<String> {
    event
        .key()
        .map(|key| String::from_utf8(key.to_vec()).unwrap())
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(
    crate = "bus_api",
    type = "order.placed",
    topic = "orders.placed",
    key = "id"
)]
#[event(
    alias = "order.made",
    alias = "order_placed",
    dataschema = "https://example.com/order"
)]
#[event(subject = "order/{id}")]
struct OrderPlaced {
    id: u64,
    total: u64,
}

#[test]
fn a_struct_says_what_its_attributes_say() {
    let placed = OrderPlaced { id: 7, total: 1 };
    assert_eq!(placed.event_type(), "order.placed");
    assert_eq!(placed.topic().unwrap().as_str(), "orders.placed");
    assert_eq!(key(&placed).as_deref(), Some("7"));
    assert_eq!(placed.subject().as_deref(), Some("order/7"));
    assert_eq!(
        placed.dataschema().as_deref(),
        Some("https://example.com/order")
    );
    assert_eq!(json(&placed), r#"{"id":7,"total":1}"#);
    assert!(OrderPlaced::takes("order.made") && OrderPlaced::takes("order_placed"));
    assert_eq!(
        OrderPlaced::types().unwrap()[0].aliases,
        ["order.made", "order_placed"]
    );
    assert_eq!(OrderPlaced::event_name(), "order.placed");
    round_trip(&placed);
}

#[test]
fn a_message_without_a_type_is_taken_for_the_struct() {
    let payload = Bytes::from_static(br#"{"id":7,"total":1,"later":true}"#);
    assert_eq!(OrderPlaced::decode(None, &payload, &Json).unwrap().id, 7);
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(
    crate = "bus_api",
    type = "order.placed",
    version = 2,
    alias = "order.placed",
    topic = "o"
)]
struct Versioned {}

#[test]
fn a_version_is_part_of_the_type() {
    assert_eq!(Versioned {}.event_type(), "order.placed.v2");
    assert!(Versioned::takes("order.placed.v2") && Versioned::takes("order.placed"));
    round_trip(&Versioned {});
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Repository {
    full_name: String,
    owner: Option<Owner>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Owner {
    login: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(
    crate = "bus_api",
    type = "github.webhook",
    topic = "github.{event}.{action?}"
)]
#[event(
    key = "repository.full_name",
    subject = "{repository.owner.login}/{r#type}"
)]
struct Webhook {
    event: String,
    action: Option<String>,
    repository: Option<Box<Repository>>,
    r#type: u8,
}

fn webhook(event: &str, action: Option<&str>) -> Webhook {
    Webhook {
        event: event.to_owned(),
        action: action.map(str::to_owned),
        repository: None,
        r#type: 3,
    }
}

#[test]
fn a_missing_optional_value_drops_its_token() {
    let topic = |hook: Webhook| hook.topic().map(|topic| topic.to_string());
    assert_eq!(topic(webhook("push", None)).unwrap(), "github.push");
    let opened = webhook("pull_request", Some("opened"));
    assert_eq!(topic(opened).unwrap(), "github.pull_request.opened");
    for (wrong, field) in [
        (webhook("a.b", None), "`event`"),
        (webhook("", None), "`event`"),
        (webhook("push", Some("secret value")), "`action`"),
        (webhook("push", Some("")), "`action`"),
    ] {
        let error = topic(wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidTopic);
        assert!(error.to_string().contains(field), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    assert_eq!(patterns::<Webhook>()[0].1, "github.>");
}

#[test]
fn a_nested_key_may_be_missing_on_every_level() {
    let mut hook = webhook("push", None);
    assert_eq!((hook.key(), hook.subject()), (None, None));
    hook.repository = Some(Box::new(Repository {
        full_name: "octo/hello world".to_owned(),
        owner: None,
    }));
    assert_eq!(key(&hook).as_deref(), Some("octo/hello world"));
    assert_eq!(hook.subject(), None);
    let owner = |login: Option<&str>| Owner {
        login: login.map(str::to_owned),
    };
    for (login, subject) in [(None, None), (Some("octo"), Some("octo/3"))] {
        let repository = hook.repository.as_mut().unwrap();
        repository.owner = Some(owner(login));
        assert_eq!(hook.subject().as_deref(), subject);
    }
    round_trip(&hook);
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(
    crate = "bus_api",
    type = "order.cancelled",
    topic = "{tenant}.orders.{region?}.cancelled"
)]
struct OrderCancelled {
    tenant: Tenant,
    region: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Tenant(u32);

impl std::fmt::Display for Tenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "t{}", self.0)
    }
}

macro_rules! topics {
    ($($name:ident: $topic:literal => $pattern:literal;)*) => {$(
        #[derive(Serialize, Deserialize, Event)]
        #[event(crate = "bus_api", type = "t", topic = $topic)]
        #[allow(dead_code)]
        struct $name { a: u8, b: Option<u8>, c: Option<u8> }

        assert_eq!(patterns::<$name>(), [("t".to_owned(), $pattern.to_owned())]);
        for (b, c) in [(None, None), (None, Some(3)), (Some(2), None), (Some(2), Some(3))] {
            let topic = $name { a: 1, b, c }.topic().unwrap();
            assert!($name::types().unwrap()[0].pattern.matches(&topic), "{topic}");
        }
    )*};
}

#[test]
fn the_pattern_covers_every_topic() {
    topics! {
        T1: "x" => "x";
        T2: "x.{a}" => "x.*";
        T3: "x.{a}.y" => "x.*.y";
        T4: "x.user-{a}" => "x.*";
        T5: "x.{b?}.y" => "x.>";
        T6: "x.y.{b?}" => "x.>";
        T7: "x.{a}.{b?}.{c?}" => "x.>";
        T8: "x.{a}.{b?}.{c?}.y" => "x.*.>";
        T9: "{a}.x.{b?}" => "*.>";
    }
    let cancelled = OrderCancelled {
        tenant: Tenant(5),
        region: None,
    };
    assert_eq!(cancelled.topic().unwrap().as_str(), "t5.orders.cancelled");
    assert_eq!(patterns::<OrderCancelled>()[0].1, "*.orders.>");
}

#[derive(Serialize, Deserialize, Event)]
#[event(
    crate = "bus_api",
    type = "t",
    topic = "{b?}.x",
    pattern = "*.x",
    key = "bytes"
)]
struct Overridden {
    b: Option<u8>,
    bytes: Bytes,
}

#[test]
fn a_pattern_can_be_said_and_a_key_can_be_bytes() {
    assert_eq!(patterns::<Overridden>()[0].1, "*.x");
    let event = Overridden {
        b: None,
        bytes: Bytes::from_static(b"\xff"),
    };
    assert_eq!(event.key().unwrap(), &b"\xff"[..]);
    assert_eq!(event.topic().unwrap().as_str(), "x");
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "frame", topic = "frames")]
struct Frame(Bytes);

#[test]
fn a_newtype_around_bytes_has_a_raw_form() {
    let frame = Frame(Bytes::from_static(b"\0\xff"));
    let codecs = Codecs::default().with_default(Octets);
    let payload = frame.encode(codecs.default_codec().as_ref()).unwrap();
    assert_eq!(payload, &b"\0\xff"[..]);
    assert_eq!(Frame::decode(None, &payload, &Octets).unwrap(), frame);
    round_trip(&frame);
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(crate = "bus_api", topic = "orders.other", key = "id")]
#[serde(rename_all_fields = "camelCase")]
enum OrderEvent {
    #[event(type = "order.placed", topic = "orders.placed")]
    Placed(OrderPlaced),
    #[event(
        type = "order.cancelled",
        topic = "orders.{id}.cancelled",
        alias = "order.stopped"
    )]
    Cancelled {
        id: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why_so: Option<String>,
    },
    #[event(type = "order.moved", key = "1")]
    Moved(u8, u64),
}

#[test]
fn an_enum_writes_the_variants_own_payload() {
    for (event, name, topic, expected) in [
        (
            OrderEvent::Placed(OrderPlaced { id: 7, total: 1 }),
            "order.placed",
            "orders.placed",
            r#"{"id":7,"total":1}"#,
        ),
        (
            OrderEvent::Cancelled {
                id: 7,
                why_so: None,
            },
            "order.cancelled",
            "orders.7.cancelled",
            r#"{"id":7}"#,
        ),
        (
            OrderEvent::Cancelled {
                id: 7,
                why_so: Some("late".to_owned()),
            },
            "order.cancelled",
            "orders.7.cancelled",
            r#"{"id":7,"whySo":"late"}"#,
        ),
        (
            OrderEvent::Moved(1, 7),
            "order.moved",
            "orders.other",
            "[1,7]",
        ),
    ] {
        assert_eq!(event.event_type(), name);
        assert_eq!(event.topic().unwrap().as_str(), topic);
        assert_eq!(key(&event).as_deref(), Some("7"));
        assert_eq!(json(&event), expected);
        round_trip(&event);
    }
    let expected = [
        ("order.placed", "orders.placed"),
        ("order.cancelled", "orders.*.cancelled"),
        ("order.moved", "orders.other"),
    ];
    assert_eq!(
        patterns::<OrderEvent>(),
        expected.map(|(n, p)| (n.to_owned(), p.to_owned()))
    );
    let payload = Bytes::from_static(br#"{"id":9}"#);
    let old = OrderEvent::decode(Some("order.stopped"), &payload, &Json).unwrap();
    assert_eq!(
        old,
        OrderEvent::Cancelled {
            id: 9,
            why_so: None
        }
    );
    let untyped = OrderEvent::decode(None, &payload, &Json).unwrap_err();
    assert_eq!(untyped.kind(), ErrorKind::Decode);
}

#[derive(Debug, PartialEq, Event)]
#[event(crate = "bus_api")]
enum Anything {
    Order(OrderEvent),
    #[event(type = "order.copied")]
    Copied(OrderPlaced),
    #[event(type = "plain", topic = "plain.{0}", subject = "{0}")]
    Plain(String),
    #[event(type = "tick", topic = "ticks")]
    Tick,
    #[event(type = "nothing", topic = "nothing")]
    Nothing {},
}

#[test]
fn a_variant_takes_over_what_the_event_inside_says() {
    let inner = OrderEvent::Moved(1, 7);
    let (expected_type, expected_topic) = (inner.event_type(), inner.topic().unwrap());
    let outer = Anything::Order(inner);
    assert_eq!(outer.event_type(), expected_type);
    assert_eq!(outer.topic().unwrap(), expected_topic);
    assert_eq!(key(&outer).as_deref(), Some("7"));
    round_trip(&outer);

    let copied = Anything::Copied(OrderPlaced { id: 7, total: 1 });
    assert_eq!(copied.event_type(), "order.copied");
    assert_eq!(copied.topic().unwrap().as_str(), "orders.placed");
    assert_eq!(key(&copied).as_deref(), Some("7"));
    assert_eq!(copied.subject().as_deref(), Some("order/7"));
    round_trip(&copied);

    let plain = Anything::Plain("x".to_owned());
    assert_eq!(plain.topic().unwrap().as_str(), "plain.x");
    assert_eq!((plain.key(), plain.subject().as_deref()), (None, Some("x")));
    assert_eq!(plain.encode(&Octets).unwrap(), "x");
    round_trip(&plain);

    assert_eq!(json(&Anything::Tick), "null");
    assert_eq!(json(&Anything::Nothing {}), "{}");
    round_trip(&Anything::Tick);
    round_trip(&Anything::Nothing {});
    assert_eq!(Anything::types().unwrap().len(), 7);
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(
    crate = "bus_api",
    type = "changed.{T}",
    alias = "updated.{T}",
    topic = "changes.{T}.{by}"
)]
struct Changed<T> {
    now: T,
    by: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Customer {
    name: String,
}

impl EventName for Customer {
    fn event_name() -> Cow<'static, str> {
        "customer".into()
    }
}

#[derive(Debug, PartialEq, Event)]
#[event(crate = "bus_api", topic = "lists")]
enum ListEvent<T, const N: usize>
where
    T: Clone + Debug,
{
    #[event(type = "added.{T}", version = 3)]
    Added {
        what: Vec<T>,
    },
    #[event(type = "counted")]
    Counted {
        n: u64,
        #[serde(skip)]
        none: Marker<N>,
    },
    Changed(Changed<T>),
}

#[derive(Debug, Default, PartialEq)]
struct Marker<const N: usize>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Item;

impl EventName for Item {
    fn event_name() -> Cow<'static, str> {
        "item".into()
    }
}

#[test]
fn a_generic_event_names_its_type_by_its_parameter() {
    let changed = Changed {
        now: Customer {
            name: "a".to_owned(),
        },
        by: 1,
    };
    assert_eq!(changed.event_type(), "changed.customer");
    assert_eq!(changed.topic().unwrap().as_str(), "changes.customer.1");
    assert_eq!(patterns::<Changed<Customer>>()[0].1, "changes.customer.*");
    assert!(Changed::<Customer>::takes("updated.customer"));
    assert!(!Changed::<Customer>::takes("changed.order"));
    round_trip(&changed);

    let nested = Changed {
        now: OrderPlaced { id: 1, total: 1 },
        by: 2,
    };
    assert_eq!(nested.event_type(), "changed.order.placed");
    assert_eq!(nested.topic().unwrap().as_str(), "changes.order.placed.2");

    for event in [
        ListEvent::<_, 3>::Added { what: vec![Item] },
        ListEvent::Counted { n: 1, none: Marker },
        ListEvent::Changed(Changed { now: Item, by: 1 }),
    ] {
        round_trip(&event);
    }
    assert_eq!(
        ListEvent::<_, 3>::Added { what: vec![Item] }.event_type(),
        "added.item.v3"
    );
}
