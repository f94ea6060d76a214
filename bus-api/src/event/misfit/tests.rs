//! What is said of payloads that do not fit.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::event::Json;

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Order {
    id: u64,
    lines: Vec<Line>,
    prices: BTreeMap<String, u8>,
    state: State,
    #[serde(flatten)]
    rest: BTreeMap<String, Option<bool>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Line {
    sku: Option<Sku>,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Sku;

impl TryFrom<String> for Sku {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Err(format!("{text} is no sku"))
    }
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
enum State {
    Open,
    Paid { by: bool },
    Moved(u8, u8),
}

/// The codecs, each with the payload as it writes it.
fn encoded(payload: &str) -> Vec<(Box<dyn Codec>, Bytes)> {
    let json = Bytes::copy_from_slice(payload.as_bytes());
    #[cfg(feature = "msgpack")]
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(&json) {
        let codec: Box<dyn Codec> = Box::new(crate::event::MessagePack);
        let packed = codec.to_bytes(&value).unwrap();
        return vec![(Box::new(Json), json), (codec, packed)];
    }
    vec![(Box::new(Json), json)]
}

fn texts<T: DeserializeOwned>(payload: &str) -> Vec<String> {
    let read = encoded(payload).into_iter().map(|(codec, payload)| {
        let Err(error) = codec.from_bytes::<T>(&payload) else {
            panic!("{payload:?} was read");
        };
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        error.to_string()
    });
    read.collect()
}

#[test]
fn the_field_and_the_reason_are_said_and_no_value() {
    let line = |sku: &str| format!(r#"{{"lines":[{{"sku":null}},{{{sku}}}]}}"#);
    for (payload, reason) in [
        (r#"{"id":"secret"}"#.to_owned(), "{0}"),
        (line(r#""sku":"secret""#), "a value was refused"),
        (line(r#""secret":1"#), "an unknown field; known are sku"),
        (r#"{"secret":"secret"}"#.to_owned(), "decode"),
        (r#"["secret"]"#.to_owned(), "struct Order"),
    ] {
        let texts = texts::<Order>(&payload);
        assert!(texts[0].contains(reason), "{payload}: {}", texts[0]);
    }
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Plain {
    lines: Vec<Line>,
    prices: BTreeMap<String, u8>,
    state: State,
}

#[test]
fn the_path_names_fields_elements_and_variants() {
    for (payload, field, reason) in [
        (
            r#"{"lines":[{},{"sku":3}]}"#,
            "lines[1].sku",
            "expected a string",
        ),
        (
            r#"{"prices":{"secret":1,"secret2":900}}"#,
            "prices{1}",
            "u8",
        ),
        (
            r#"{"state":{"Paid":{"by":"secret"}}}"#,
            "state.Paid.by",
            "a boolean",
        ),
        (
            r#"{"state":{"Moved":[1,"secret"]}}"#,
            "state.Moved[1]",
            "u8",
        ),
        (
            r#"{"state":"secret"}"#,
            "state",
            "known are Open, Paid, Moved",
        ),
        (r#"{"lines":[]}"#, "", "field `prices` is missing"),
    ] {
        let texts = texts::<Plain>(payload);
        assert!(texts[0].contains(reason), "{payload}: {}", texts[0]);
        for text in texts {
            let path = format!("field: {field})");
            assert!(
                text.contains(&path) || field.is_empty(),
                "{payload}: {text}"
            );
        }
    }
}
