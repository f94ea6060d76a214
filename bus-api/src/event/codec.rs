//! Codecs: values to bytes and back.

use bytes::Bytes;

use crate::error::Result;

/// Turns values into bytes and back; found by its content type when a message is read.
pub trait Codec: Send + Sync + 'static {
    /// The content type of what it writes, such as `application/json`.
    fn content_type(&self) -> &'static str;

    /// Encodes `value`.
    ///
    /// # Errors
    /// `Encode`.
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Bytes>;

    /// Opens `payload` and lets `read` take the value out.
    ///
    /// # Errors
    /// `Decode`, or what `read` returned.
    fn decode(
        &self,
        payload: &Bytes,
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> Result<()>,
    ) -> Result<()>;
}
