//! The attributes that the bus writes with every message, for the others to write as well.

use anyhow::Result;
use bus::cloudevents::{self, Extent, Style};
use bus::{Message, MessageId, Metadata, Topic};
use bytes::Bytes;

use super::{CONTENT_TYPE, EVENT_TYPE};

/// Names and values of the attributes of a message, as one transport carries them; only id and time would be
/// others with each message.
pub(super) fn attributes(style: Style) -> Result<Vec<(String, Vec<u8>)>> {
    let id = MessageId::new("0190d6c4-3c2a-7a5e-8000-000000000001");
    let mut metadata = Metadata::new(id, "bus-bench".into(), bus::clock::now());
    metadata.event_type = Some(EVENT_TYPE.into());
    metadata.content_type = Some(CONTENT_TYPE.into());
    let message = Message::new(Topic::new("bench")?, metadata, Bytes::new());
    let mut pairs = Vec::new();
    cloudevents::write(&message, style, Extent::Usual, &mut |name, value| {
        pairs.push((name.to_owned(), value.to_vec()));
    });
    Ok(pairs)
}
