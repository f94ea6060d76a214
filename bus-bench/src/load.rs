//! How much work.

use bus::Event;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A message with fields, which takes a codec.
#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "bench.text", topic = "bench.text")]
pub(crate) struct Text {
    pub(crate) number: u64,
    text: String,
}

/// How much work, and where.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// A topic, and the root of others, that nothing else uses.
    pub(crate) root: String,
    /// Messages.
    pub(crate) messages: usize,
    /// Bytes of each payload.
    pub(crate) bytes: usize,
}

impl Load {
    pub(crate) fn new(messages: usize, bytes: usize) -> Self {
        Self {
            root: format!("bench{:08x}", fastrand::u32(..)),
            messages,
            bytes,
        }
    }

    /// The payload of message `number`, which it starts with; each is made anew, as an encoder would.
    pub(crate) fn payload(&self, number: usize) -> Bytes {
        let mut payload = vec![b'x'; self.bytes.max(8)];
        payload[..8].copy_from_slice(&(number as u64).to_le_bytes());
        payload.into()
    }

    /// Message `number` with fields; the text is as long as a payload.
    pub(crate) fn text(&self, number: usize) -> Text {
        Text {
            number: number as u64,
            text: "x".repeat(self.bytes),
        }
    }

    /// The numbers of the messages, in batches of `size`.
    pub(crate) fn batches(
        &self,
        size: usize,
    ) -> impl Iterator<Item = std::ops::Range<usize>> + Send + use<> {
        let messages = self.messages;
        (0..messages)
            .step_by(size)
            .map(move |from| from..(from + size).min(messages))
    }
}
