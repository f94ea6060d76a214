//! Messages as they travel over NATS, and what the server says about where they lie.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bus_api::cloudevents::{self, Decoded, Extent, Known, Style};
use bus_api::{Error, ErrorKind, Message, Offset, Position, Result, Topic};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{self, value::StrDeserializer};

use crate::digits;
use crate::error::{NAME, error};
use crate::keys::Keys;
use crate::last_topic::LastTopic;

/// The header that makes a second message of the same text within the window a duplicate.
pub(crate) const WIRE_ID: &str = "Nats-Msg-Id";
/// The header that says which message must be the last one of the subject.
pub(crate) const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";

fn wrong() -> Error {
    error(
        ErrorKind::Encode,
        "a header cannot be written to NATS: its name or value has an illegal character",
    )
}

/// Sets a header.
///
/// # Errors
/// `Encode` when it cannot be written: names and values of the bus can.
pub(crate) fn put(headers: &mut HeaderMap, name: &str, value: &str) -> Result<()> {
    headers.insert(self::name(name)?, self::value(value.as_bytes())?);
    Ok(())
}

/// # Errors
/// `Encode` for an illegal name.
pub(crate) fn name(name: &str) -> Result<HeaderName> {
    usual(name).map_or_else(|| name.parse().map_err(|_| wrong()), Ok)
}

/// # Errors
/// `Encode` for an illegal value.
pub(crate) fn value(value: &[u8]) -> Result<HeaderValue> {
    let text = std::str::from_utf8(value).map_err(|_| wrong())?;
    if value.contains(&b'\r') || value.contains(&b'\n') {
        return Err(wrong());
    }
    // The client library would look for them once more, character by character, where it parses, and not where it
    // deserializes.
    HeaderValue::deserialize(StrDeserializer::<de::value::Error>::new(text)).map_err(|_| wrong())
}

/// A name that most messages have: it needs no allocation and no check.
fn usual(name: &str) -> Option<HeaderName> {
    macro_rules! among {
        ($($usual:literal)*) => {
            match name {
                $($usual => Some(const { HeaderName::from_static($usual) }),)*
                _ => None,
            }
        };
    }
    among!(
        "ce-id" "ce-source" "ce-specversion" "ce-time" "ce-type" "ce-datacontenttype" "ce-correlationid"
        "ce-causationid" "ce-traceparent" "bus-format" "bus-key" "bus-topic" "bus-wait" "bus-until"
    )
}

/// The headers of `message`.
///
/// # Errors
/// `Encode` when one of them cannot be written.
pub(crate) fn headers(message: &Message, extent: Extent) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut result = Ok(());
    cloudevents::write(message, Style::Nats, extent, &mut |name, value| match (
        self::name(name),
        self::value(value),
    ) {
        (Ok(name), Ok(value)) => headers.insert(name, value),
        (Err(failed), _) | (_, Err(failed)) => result = Err(failed),
    });
    result.map(|()| headers)
}

/// The pairs of received headers, in order of their names: the client library does not keep the order.
pub(crate) fn pairs(headers: Option<&HeaderMap>) -> Vec<(&[u8], &[u8])> {
    let Some(headers) = headers else {
        return Vec::new();
    };
    // Nearly every name has one value.
    let mut pairs = Vec::with_capacity(headers.len());
    for (name, values) in headers.iter() {
        let name = AsRef::<[u8]>::as_ref(name);
        pairs.extend(values.iter().map(|value| (name, value.as_ref())));
    }
    pairs.sort_by_key(|(name, _)| *name);
    pairs
}

/// Reads a message of the stream.
///
/// # Errors
/// `Unsupported` for a newer format.
pub(crate) fn read<'a>(
    keys: &Keys,
    last: &mut LastTopic,
    subject: &str,
    position: &Position,
    pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    payload: Bytes,
) -> Result<Decoded> {
    let topic = keys.topic_of(subject).and_then(|text| last.read(text).ok());
    let is_topic = topic.is_some();
    let topic = match topic {
        Some(topic) => topic,
        // What another producer writes to must not be a topic; the dead letter says what it was.
        None => Topic::new("unknown")?,
    };
    let known = Known::at(position, topic, NAME);
    let mut decoded = cloudevents::read(Style::Nats, Extent::Usual, pairs, payload, &known)?;
    if !is_topic && decoded.malformed.is_none() {
        decoded.malformed = Some(format!("its subject is no topic: {subject:.200}").into());
    }
    Ok(decoded)
}

/// What the subject that settles a delivery says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Hand-overs, this one included.
    pub(crate) count: u32,
    /// Where the message lies in its stream.
    pub(crate) sequence: u64,
    /// The consumer's own number of this hand-over.
    pub(crate) hand_over: u64,
    pub(crate) stored_at: SystemTime,
}

impl Place {
    /// Reads `$JS.ACK.[domain.account.]stream.consumer.count.sequence.hand-over.time.pending[.…]`.
    pub(crate) fn of(subject: &str) -> Option<Self> {
        let rest = subject.strip_prefix("$JS.ACK.")?.as_bytes();
        let (mut dots, mut count) = ([0; 8], 0);
        for (at, byte) in rest.iter().enumerate() {
            if *byte == b'.' {
                if let Some(dot) = dots.get_mut(count) {
                    *dot = at;
                }
                count += 1;
            }
        }
        // Before the numbers are stream and consumer, and in the long form domain and account.
        let first = match count {
            6 => 1,
            8.. => 3,
            _ => return None,
        };
        let number =
            |at: usize| digits::read(rest.get(dots[first + at] + 1..dots[first + at + 1])?);
        Some(Self {
            count: u32::try_from(number(0)?).unwrap_or(u32::MAX),
            sequence: number(1)?,
            hand_over: number(2)?,
            stored_at: SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(number(3)?))?,
        })
    }

    pub(crate) fn position(&self, log: &Arc<str>) -> Position {
        Position::new(Arc::clone(log), Offset(self.sequence, 0), self.stored_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_the_client_library_parses() {
        for text in ["", "a b", " a ", "%C3%A4", "\u{e4}", "a\rb", "a\n", "\r\n"] {
            let parsed = text.parse::<HeaderValue>();
            assert_eq!(value(text.as_bytes()).ok(), parsed.ok(), "{text:?}");
        }
        assert!(value(b"\xff").is_err());
    }

    #[test]
    fn an_ack_subject_says_where_a_message_lies() {
        let place = Place {
            count: 2,
            sequence: 42,
            hand_over: 57,
            stored_at: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789),
        };
        for subject in [
            "$JS.ACK.bus-t.g-1.2.42.57.1700000000123456789.3",
            "$JS.ACK.hub.acc.bus-t.g-1.2.42.57.1700000000123456789.3",
            "$JS.ACK.hub.acc.bus-t.g-1.2.42.57.1700000000123456789.3.random",
        ] {
            assert_eq!(Place::of(subject), Some(place), "{subject}");
        }
        for wrong in [
            "",
            "a.b",
            "$JS.ACK.bus-t.g-1.x.42.57.17.3",
            "$JS.ACK.bus-t.g-1.2.42.57..3",
            "$JS.ACK.bus-t.g-1.2.42.57.17",
            "$JS.ACK.hub.bus-t.g-1.2.42.57.17.3",
        ] {
            assert_eq!(Place::of(wrong), None, "{wrong}");
        }
    }
}
