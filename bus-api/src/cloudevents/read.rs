//! Reading, in either mode, what this bus or anybody else has written.

use std::borrow::Cow;

use bytes::Bytes;

use super::attributes::{Attributes, DATA_CONTENT_TYPE};
use super::{
    CONTENT_TYPE, Decoded, Extent, FORMAT, Known, OWN, OWN_FORMAT, OWN_HEADER, OWN_KEY, OWN_TARGET,
    OWN_TOPIC, Style, structured, target, text,
};
use crate::contract::{Headers, Message, Targeted, Topic};
use crate::error::{Error, ErrorKind, Result};

/// Reads the pairs and the payload of a message.
///
/// ```
/// use bus_api::cloudevents::{self, Extent, Known, Style};
/// use bus_api::{Offset, Position, Topic};
///
/// // A message of another producer, without any attribute.
/// let position = Position::new("orders".into(), Offset(7, 0), std::time::UNIX_EPOCH);
/// let known = Known::at(&position, Topic::new("orders")?, "kafka");
/// let pairs = [(&b"tenant"[..], &b"a"[..])];
/// let read = cloudevents::read(Style::Kafka, Extent::Usual, pairs, "{}".into(), &known)?;
/// assert_eq!(read.message.metadata.id.to_string(), "orders@7-0@0");
/// assert_eq!(read.message.metadata.event_type, None);
/// assert_eq!(read.message.headers.get("tenant"), Some("a"));
/// assert_eq!(read.malformed, None);
/// # Ok::<(), bus_api::Error>(())
/// ```
///
/// Of a name that comes twice the last value counts. Header values that are not UTF-8 are read with
/// replacement characters.
///
/// # Errors
/// Only `Unsupported`, for a newer format of the bus's own pairs. Everything else is read as far as it can
/// be and is then [`malformed`](Decoded::malformed).
pub fn read<'a>(
    style: Style,
    extent: Extent,
    pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    payload: Bytes,
    known: &Known<'_>,
) -> Result<Decoded> {
    let mut found = Found::default();
    for (name, value) in pairs {
        found.take(style, name, value);
    }
    found.finish(style, extent, payload, known)
}

/// What the pairs held.
#[derive(Default)]
pub(super) struct Found<'a> {
    attributes: Attributes<'a>,
    content_type: Option<Cow<'a, str>>,
    format: Option<&'a [u8]>,
    topic: Option<&'a [u8]>,
    key: Option<&'a [u8]>,
    target: Option<&'a [u8]>,
    headers: Vec<(Cow<'a, str>, &'a [u8])>,
}

impl<'a> Found<'a> {
    pub(super) fn take(&mut self, style: Style, name: &'a [u8], value: &'a [u8]) {
        let name = match std::str::from_utf8(name) {
            Ok(name) => Cow::Borrowed(name),
            Err(_) => String::from_utf8_lossy(name),
        };
        if self.take_known(style, &name, value) {
            return;
        }
        // Case has no meaning there; what the bus writes has none, so this is for others.
        if style == Style::Nats {
            let folded = name.to_ascii_lowercase();
            if folded.starts_with("nats-") || self.take_known(style, &folded, value) {
                return;
            }
        }
        self.headers.push((name, value));
    }

    /// Takes what has a meaning; `false`: it has none.
    fn take_known(&mut self, style: Style, name: &str, value: &'a [u8]) -> bool {
        if let Some(attribute) = name.strip_prefix(style.prefix()) {
            return self
                .attributes
                .take(attribute, || attribute_text(style, value));
        }
        match name {
            OWN_FORMAT => self.format = Some(value),
            OWN_TOPIC => self.topic = Some(value),
            OWN_KEY => self.key = Some(value),
            OWN_TARGET => self.target = Some(value),
            name if name.eq_ignore_ascii_case(CONTENT_TYPE) => {
                self.content_type = attribute_text(style, value);
                if self.content_type.is_none() {
                    self.attributes.damaged(DATA_CONTENT_TYPE, "is not UTF-8");
                }
            }
            _ => return false,
        }
        true
    }

    pub(super) fn finish(
        mut self,
        style: Style,
        extent: Extent,
        payload: Bytes,
        known: &Known<'_>,
    ) -> Result<Decoded> {
        let own = self.check_format()?;
        let mut payload = payload;
        let mut event_headers = Vec::new();
        let is_structured = self
            .content_type
            .as_deref()
            .is_some_and(structured::is_structured);
        if is_structured && !own {
            let data = structured::unpack(&payload, &mut self.attributes, &mut event_headers);
            payload = data.unwrap_or(payload);
        } else {
            self.attributes
                .fall_back_to_content_type(self.content_type.take());
        }
        let targeted = self.targeted(style, own)?;
        let topic = self.topic(style, extent, known);
        let key = self.key(style, extent, known);
        let mut headers = Headers::new();
        for (name, value) in event_headers {
            headers.set(format!("{}{name}", style.prefix()), value);
        }
        for (name, value) in &self.headers {
            set_header(&mut headers, own, name, value);
        }
        let (metadata, malformed) = self.attributes.finish(known);
        let mut message = Message::new(topic, metadata, payload);
        message.key = key;
        message.headers = headers;
        message.targeted = targeted.map(Box::new);
        Ok(Decoded { message, malformed })
    }

    /// Whether this bus wrote it.
    fn check_format(&mut self) -> Result<bool> {
        let Some(format) = self.format else {
            return Ok(false);
        };
        let number = std::str::from_utf8(format)
            .ok()
            .and_then(|text| text.parse::<u64>().ok());
        match number {
            Some(number) if number > u64::from(FORMAT) => Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "a message has format version {number}; this release reads up to {FORMAT}, upgrade it"
                ),
            )),
            Some(1..) => Ok(true),
            _ => {
                self.attributes.damaged(OWN_FORMAT, "is no version");
                Ok(false)
            }
        }
    }

    fn targeted(&mut self, style: Style, own: bool) -> Result<Option<Targeted>> {
        let Some(value) = self.target.filter(|_| own) else {
            return Ok(None);
        };
        let targeted = match attribute_text(style, value) {
            Some(text) => target::read(&text)?,
            None => None,
        };
        if targeted.is_none() {
            self.attributes.damaged(OWN_TARGET, "is damaged");
        }
        Ok(targeted)
    }

    fn topic(&mut self, style: Style, extent: Extent, known: &Known<'_>) -> Topic {
        let Some(value) = self.topic.filter(|_| extent.has_topic(style)) else {
            return known.topic.clone();
        };
        let topic = std::str::from_utf8(value)
            .ok()
            .and_then(|text| Topic::new(text).ok());
        topic.unwrap_or_else(|| {
            self.attributes.damaged(OWN_TOPIC, "is no topic");
            known.topic.clone()
        })
    }

    fn key(&self, style: Style, extent: Extent, known: &Known<'_>) -> Option<Bytes> {
        match self.key.filter(|_| extent.has_key(style)) {
            Some(value) if style == Style::Nats => Some(text::decode(value).into_owned().into()),
            Some(value) => Some(Bytes::copy_from_slice(value)),
            None => known.key.clone(),
        }
    }
}

/// A value of an attribute; `None` when it is not UTF-8.
fn attribute_text(style: Style, value: &[u8]) -> Option<Cow<'_, str>> {
    match style {
        Style::Nats => text::read(value),
        Style::Kafka | Style::Redis => std::str::from_utf8(value).ok().map(Cow::Borrowed),
    }
}

/// An application header, or the bus's encoding of one.
fn set_header(headers: &mut Headers, own: bool, name: &str, value: &[u8]) {
    let encoded = name.strip_prefix(OWN_HEADER).filter(|_| own);
    if let Some(encoded) = encoded {
        let name = text::decode(encoded.as_bytes());
        let value = text::decode(value);
        headers.set(
            String::from_utf8_lossy(&name),
            &*String::from_utf8_lossy(&value),
        );
    } else if !(own && name.starts_with(OWN)) {
        headers.set(name, &*String::from_utf8_lossy(value));
    }
}
