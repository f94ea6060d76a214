//! Entries of Redis streams: the payload is one of the fields.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::read::Found;
use super::{DATA, Decoded, Extent, Known, OWN, Style};
use crate::error::Result;

/// Reads an entry of a Redis stream.
///
/// The payload is the field `data`, shared and not copied. An entry of another producer that has none: its
/// only field is the payload, or, when it has several, a JSON object of all of them.
///
/// ```
/// use bus_api::cloudevents::{self, Extent, Known};
/// use bus_api::{Offset, Position, Topic};
///
/// let position = Position::new("sensors".into(), Offset(1, 0), std::time::UNIX_EPOCH);
/// let known = Known::at(&position, Topic::new("sensors")?, "redis");
/// let fields = [("celsius".into(), "21".into()), ("room".into(), "7".into())];
/// let read = cloudevents::read_entry(Extent::Usual, &fields, &known)?;
/// assert_eq!(read.message.payload, r#"{"celsius":"21","room":"7"}"#);
/// assert_eq!(read.message.metadata.content_type.as_deref(), Some("application/json"));
/// # Ok::<(), bus_api::Error>(())
/// ```
///
/// # Errors
/// As [`read`](super::read()).
pub fn read_entry(extent: Extent, fields: &[(Bytes, Bytes)], known: &Known<'_>) -> Result<Decoded> {
    let style = Style::Redis;
    let has_meaning = |name: &Bytes| {
        name.eq_ignore_ascii_case(super::CONTENT_TYPE.as_bytes())
            || name.starts_with(style.prefix().as_bytes())
            || name.starts_with(OWN.as_bytes())
    };
    let data = fields.iter().rfind(|(name, _)| name == DATA);
    let foreign = data.is_none() && !fields.iter().any(|(name, _)| has_meaning(name));
    let mut found = Found::default();
    let payload = match (data, fields) {
        (Some((_, value)), _) => value.clone(),
        (None, [(_, value)]) if foreign => value.clone(),
        (None, _) if foreign && !fields.is_empty() => {
            found.take(style, super::CONTENT_TYPE.as_bytes(), b"application/json");
            object(fields)
        }
        (None, _) => Bytes::new(),
    };
    for (name, value) in fields {
        if !foreign && name != DATA {
            found.take(style, name, value);
        }
    }
    found.finish(style, extent, payload, known)
}

/// A JSON object of all fields; what is not UTF-8 gets replacement characters.
fn object(fields: &[(Bytes, Bytes)]) -> Bytes {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let members = fields
        .iter()
        .map(|(name, value)| (text(name), Value::String(text(value))));
    Value::Object(members.collect::<Map<_, _>>())
        .to_string()
        .into()
}
