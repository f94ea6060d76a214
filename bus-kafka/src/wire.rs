//! Messages as Kafka records.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bus_api::cloudevents::{self, Decoded, Extent, Known, Style};
use bus_api::{Message, Offset, Position, Result, Topic};
use bytes::Bytes;
use rdkafka::Timestamp;
use rdkafka::message::{BorrowedMessage, Message as _};

use crate::error::NAME;
use crate::sys::{self, Headers, Outgoing};

/// Room for the attributes that most messages have; the list grows where there are more.
const USUAL_HEADERS: usize = 12;

/// A record that is to be written.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<Bytes>,
    pub(crate) headers: Headers,
    /// `None` is a deletion in a compacted topic.
    pub(crate) payload: Option<Bytes>,
}

impl Record {
    /// What is handed to the client library. The headers are gone afterwards.
    pub(crate) fn outgoing(&mut self) -> Outgoing<'_> {
        Outgoing {
            topic: &self.topic,
            partition: self.partition,
            key: self.key.as_deref(),
            headers: std::mem::replace(&mut self.headers, Headers::none()),
            payload: self.payload.as_deref(),
        }
    }
}

/// The record of `message` in `log`.
pub(crate) fn outgoing<'a>(log: &'a Arc<str>, message: &'a Message) -> Outgoing<'a> {
    Outgoing {
        topic: log,
        partition: None,
        key: message.key.as_deref(),
        headers: headers(message, Extent::Usual),
        payload: Some(&message.payload),
    }
}

/// The headers of `message`.
pub(crate) fn headers(message: &Message, extent: Extent) -> Headers {
    let mut headers = Headers::with_capacity(USUAL_HEADERS + message.headers.len());
    cloudevents::write(message, Style::Kafka, extent, &mut |name, value| {
        headers.add(name, value);
    });
    headers
}

/// When the broker stored a record; the producer's time where the topic is set so.
pub(crate) fn stored_at(timestamp: Timestamp) -> SystemTime {
    timestamp
        .to_millis()
        .and_then(|millis| u64::try_from(millis).ok())
        .and_then(|millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis)))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Where a record lies.
pub(crate) fn position(log: &Arc<str>, offset: i64, stored_at: SystemTime) -> Position {
    let offset = u64::try_from(offset).unwrap_or(0);
    Position::new(Arc::clone(log), Offset(offset, 0), stored_at)
}

/// Reads a record. `root` is the topic of a message that names none.
///
/// # Errors
/// `Unsupported` for a newer format.
pub(crate) fn read(
    record: &BorrowedMessage<'_>,
    position: &Position,
    root: &Topic,
    extent: Extent,
) -> Result<Decoded> {
    // With everything among the headers, the record's key is the bus's own.
    let key = record.key().filter(|_| extent == Extent::Usual);
    let known = Known {
        key: key.map(Bytes::copy_from_slice),
        ..Known::at(position, root.clone(), NAME)
    };
    let payload = record
        .payload()
        .map_or_else(Bytes::new, Bytes::copy_from_slice);
    match sys::headers(record) {
        Some(headers) => cloudevents::read(Style::Kafka, extent, headers, payload, &known),
        None => {
            let mut decoded = cloudevents::read(Style::Kafka, extent, Vec::new(), payload, &known)?;
            decoded.malformed = Some("the headers of the record cannot be read".into());
            Ok(decoded)
        }
    }
}
