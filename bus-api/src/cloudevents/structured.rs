//! Structured mode: the whole event as one JSON object.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::DATA;
use super::attributes::{self, Attributes, DATA_CONTENT_TYPE};
use crate::contract::Message;
use crate::error::{Error, ErrorKind, Result};

/// The content type of an event in structured mode.
pub const STRUCTURED: &str = "application/cloudevents+json";

const DATA_BASE64: &str = "data_base64";

/// Whether a payload of this content type is a JSON event in structured mode. Batches and other formats
/// are not: they are handed on as they are.
pub(super) fn is_structured(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case(STRUCTURED)
        || media_type.eq_ignore_ascii_case("application/cloudevents")
}

fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let media_type = media_type.to_ascii_lowercase();
    media_type.ends_with("/json") || media_type.ends_with("+json")
}

/// The members of the object, each as it was written.
#[derive(Deserialize)]
#[serde(transparent)]
struct Members<'a>(#[serde(borrow)] BTreeMap<Cow<'a, str>, &'a RawValue>);

/// Takes an event apart: attributes, extensions that the bus does not know, and the payload that is
/// returned. Damage is noted in `attributes`; without a readable object the payload stays what it is.
pub(super) fn unpack(
    event: &Bytes,
    attributes: &mut Attributes<'_>,
    extensions: &mut Vec<(String, String)>,
) -> Option<Bytes> {
    let Ok(Members(members)) = serde_json::from_slice(event) else {
        attributes.damaged("data", "is no CloudEvent: a JSON object was expected");
        return None;
    };
    let mut content_type = None;
    for (name, value) in &members {
        if matches!(&**name, DATA | DATA_BASE64) || value.get() == "null" {
            continue;
        }
        let Some(text) = scalar(value) else {
            attributes.damaged(shown(name), "is no text, number or boolean");
            continue;
        };
        if name == DATA_CONTENT_TYPE {
            content_type = Some(text.clone());
        }
        let mut text = Some(text);
        if !attributes.take(name, || text.take().map(Cow::Owned)) {
            extensions.extend(text.map(|text| (name.to_string(), text)));
        }
    }
    let data = data(event, &members, content_type.as_deref());
    match data {
        Ok((data, is_json)) => {
            if is_json {
                attributes.fall_back_to_content_type(Some("application/json".into()));
            }
            Some(data)
        }
        Err(problem) => {
            attributes.damaged(DATA, problem);
            None
        }
    }
}

/// The payload, and whether it is JSON although nothing says so.
fn data(
    event: &Bytes,
    members: &BTreeMap<Cow<'_, str>, &RawValue>,
    content_type: Option<&str>,
) -> std::result::Result<(Bytes, bool), &'static str> {
    if let Some(encoded) = members.get(DATA_BASE64) {
        let bytes = serde_json::from_str::<String>(encoded.get())
            .ok()
            .and_then(|text| STANDARD.decode(text).ok());
        return bytes
            .map(|bytes| (bytes.into(), false))
            .ok_or("is no base64");
    }
    let Some(value) = members.get(DATA) else {
        return Ok((Bytes::new(), false));
    };
    if content_type.is_some_and(|content_type| !is_json(content_type))
        && let Ok(text) = serde_json::from_str::<String>(value.get())
    {
        return Ok((text.into(), false));
    }
    let json = event.slice_ref(value.get().as_bytes());
    Ok((json, content_type.is_none()))
}

/// Attribute names are lower-case letters and digits; anything else is not repeated in an error.
fn shown(name: &str) -> &str {
    let plain = name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric());
    if plain { name } else { "(unknown)" }
}

/// The text of a string, number or boolean.
fn scalar(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str(value.get()).ok(),
        b'{' | b'[' => None,
        _ => Some(value.get().to_owned()),
    }
}

/// The event in structured mode: metadata and payload. A key that is text becomes `partitionkey`; headers,
/// and the topic, have no place in it.
///
/// ```
/// use bus_api::cloudevents;
/// use bus_api::{Message, MessageId, Metadata, Topic};
///
/// let mut metadata = Metadata::new(MessageId::new("1"), "shop".into(), std::time::UNIX_EPOCH);
/// metadata.content_type = Some("application/json".into());
/// let message = Message::new(Topic::new("orders.placed")?, metadata, r#"{"id":7}"#.into());
/// let event = cloudevents::to_structured(&message)?;
/// assert!(event.ends_with(br#""datacontenttype":"application/json","data":{"id":7}}"#));
/// # Ok::<(), bus_api::Error>(())
/// ```
///
/// # Errors
/// `Encode`, which cannot happen for what a JSON library can write.
pub fn to_structured(message: &Message) -> Result<Bytes> {
    let mut out = Vec::with_capacity(512 + message.payload.len());
    let mut members = Object::new(&mut out);
    attributes::write(&message.metadata, &mut |name, value| {
        members.text(name, value);
    });
    if let Some(key) = message
        .key
        .as_ref()
        .and_then(|key| std::str::from_utf8(key).ok())
    {
        members.text("partitionkey", key);
    }
    let content_type = message.metadata.content_type.as_deref();
    if let Some(content_type) = content_type {
        members.text(DATA_CONTENT_TYPE, content_type);
    }
    let json = content_type.is_some_and(is_json);
    match serde_json::from_slice::<&RawValue>(&message.payload) {
        Ok(value) if json => members.raw(DATA, value.get()),
        _ if message.payload.is_empty() => {}
        _ => members.text(DATA_BASE64, &STANDARD.encode(&message.payload)),
    }
    members
        .finish()
        .map_err(|_| Error::new(ErrorKind::Encode, "the event could not be written as JSON"))?;
    Ok(out.into())
}

/// A JSON object that is written member by member.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    failed: Option<serde_json::Error>,
}

impl<'a> Object<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, failed: None }
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        if let Err(error) = serde_json::to_writer(&mut *self.out, value) {
            self.failed = Some(error);
        }
    }

    fn raw(&mut self, name: &str, value: &str) {
        self.name(name);
        self.out.extend(value.as_bytes());
    }

    /// Names are attributes: letters that need no escape.
    fn name(&mut self, name: &str) {
        self.out.push(if self.out.is_empty() { b'{' } else { b',' });
        self.out.push(b'"');
        self.out.extend(name.as_bytes());
        self.out.extend(b"\":");
    }

    fn finish(self) -> std::result::Result<(), serde_json::Error> {
        self.out.push(b'}');
        self.failed.map_or(Ok(()), Err)
    }
}
