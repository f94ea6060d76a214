//! Messages as entries of a stream.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bus_api::cloudevents::{self, Decoded, Extent, Known, Style};
use bus_api::{Message, Offset, Position, Result, Topic};
use redis::Cmd;

use crate::error::NAME;
use crate::value::Fields;

/// The field that holds the payload.
pub(crate) const DATA: &str = "data";

/// Gives every field of `message`, the payload last.
pub(crate) fn each(message: &Message, extent: Extent, sink: &mut dyn FnMut(&str, &[u8])) {
    cloudevents::write(message, Style::Redis, extent, sink);
    sink(DATA, &message.payload);
}

/// Adds the fields of `message` to a command.
pub(crate) fn write(message: &Message, extent: Extent, command: &mut Cmd) {
    each(message, extent, &mut |name, value| {
        command.arg(name).arg(value);
    });
}

/// The fields of `message`, flat, for where they travel inside of something else.
pub(crate) fn flat(message: &Message) -> Vec<Vec<u8>> {
    let mut items = Vec::new();
    each(message, Extent::Whole, &mut |name, value| {
        items.push(name.as_bytes().to_vec());
        items.push(value.to_vec());
    });
    items
}

/// When the server stored an entry with this id.
pub(crate) fn stored_at(offset: Offset) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(offset.0))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Where an entry lies. Its id holds the server's time, so that an id of a lost log is none of the new one.
pub(crate) fn position(topic: &Topic, offset: Offset) -> Position {
    Position::new(Arc::from(topic.as_str()), offset, stored_at(offset))
}

/// Reads an entry.
///
/// # Errors
/// `Unsupported` for a newer format.
pub(crate) fn read(
    topic: &Topic,
    position: &Position,
    fields: &Fields,
    extent: Extent,
) -> Result<Decoded> {
    let known = Known::at(position, topic.clone(), NAME);
    cloudevents::read_entry(extent, fields, &known)
}
