//! No payload panics a codec.

use std::collections::BTreeMap;

use bus_api::{Codecs, ErrorKind};
use bytes::Bytes;
use proptest::prelude::*;
use serde::Deserialize;

use crate::inputs::{bytes, wire_payload};

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Nested {
    id: Option<u64>,
    data: Box<Any>,
    x: Vec<Any>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[allow(dead_code)]
enum Any {
    Nested(Box<Nested>),
    Map(BTreeMap<String, Self>),
    List(Vec<Self>),
    Text(String),
    Number(f64),
    Unit,
}

fn contents(codecs: &Codecs) -> Vec<&'static str> {
    let known = [
        "application/json",
        "application/msgpack",
        "application/octet-stream",
    ];
    let known = known.into_iter();
    known
        .filter(|name| codecs.for_content_type(Some(name)).is_ok())
        .collect()
}

proptest! {
    #[test]
    fn no_payload_panics_a_codec(payload in prop_oneof![bytes(32), wire_payload()]) {
        let codecs = Codecs::default();
        for content_type in contents(&codecs) {
            let codec = codecs.for_content_type(Some(content_type)).unwrap();
            let errors = [
                codec.from_bytes::<Nested>(&payload).err(),
                codec.from_bytes::<Any>(&payload).err(),
                codec.from_bytes::<(u8, String)>(&payload).err(),
                codec.from_bytes::<Bytes>(&payload).err(),
            ];
            for error in errors.into_iter().flatten() {
                prop_assert_eq!(error.kind(), ErrorKind::Decode);
            }
        }
    }
}

/// Deeper than any event, and small enough to be sent by anybody.
#[test]
fn a_deep_payload_does_not_exhaust_the_stack() {
    let codecs = Codecs::default();
    for (content_type, byte) in [("application/json", b'['), ("application/msgpack", 0x91)] {
        let Ok(codec) = codecs.for_content_type(Some(content_type)) else {
            continue;
        };
        let payload = Bytes::from(vec![byte; 1 << 20]);
        assert!(codec.from_bytes::<Any>(&payload).is_err());
        assert!(codec.from_bytes::<serde::de::IgnoredAny>(&payload).is_err());
    }
}
