//! Messages as they travel over NATS, and what the server says about where they lie.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bus_api::cloudevents::{self, Decoded, Extent, Known, Style};
use bus_api::{Error, ErrorKind, Message, Offset, Position, Result, Topic};
use bytes::Bytes;

use crate::error::{NAME, error};
use crate::keys::Keys;

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
    text.parse().map_err(|_| wrong())
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
        "ce-causationid" "ce-traceparent" "bus-format" "bus-key" "bus-topic"
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
    let mut pairs: Vec<(&[u8], &[u8])> = headers
        .into_iter()
        .flat_map(HeaderMap::iter)
        .flat_map(|(name, values)| {
            let name = AsRef::<[u8]>::as_ref(name);
            values
                .iter()
                .map(move |value| (name, AsRef::<[u8]>::as_ref(value)))
        })
        .collect();
    pairs.sort_by_key(|(name, _)| *name);
    pairs
}

/// Reads a message of the stream.
///
/// # Errors
/// `Unsupported` for a newer format.
pub(crate) fn read<'a>(
    keys: &Keys,
    subject: &str,
    position: &Position,
    pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    payload: Bytes,
) -> Result<Decoded> {
    let topic = keys
        .topic_of(subject)
        .and_then(|text| Topic::new(text).ok());
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
        let (mut tokens, mut count) = ([&[][..]; 12], 0);
        for token in subject.as_bytes().split(|byte| *byte == b'.') {
            if let Some(place) = tokens.get_mut(count) {
                *place = token;
            }
            count += 1;
        }
        // Behind stream and consumer, and in the long form domain and account.
        let first = match (tokens, count) {
            ([b"$JS", b"ACK", ..], 9) => 4,
            ([b"$JS", b"ACK", ..], 11..) => 6,
            _ => return None,
        };
        let number = |at: usize| {
            let digits = std::str::from_utf8(tokens.get(first + at)?).ok()?;
            digits.parse::<u64>().ok()
        };
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
        for wrong in ["", "a.b", "$JS.ACK.bus-t.g-1.x.42.57.17.3"] {
            assert_eq!(Place::of(wrong), None, "{wrong}");
        }
    }
}
