//! How much work.

use bytes::Bytes;

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
