//! Codecs: values to bytes and back.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::event::misfit;

/// Turns values into bytes and back; found by its content type when a message is read.
///
/// Any serde format makes one; register it with [`Codecs::with`](crate::Codecs::with). A value is written
/// and read by [`to_bytes`](trait.Codec.html#method.to_bytes) and
/// [`from_bytes`](trait.Codec.html#method.from_bytes):
///
/// ```
/// use bus_api::{Codec, Json};
///
/// let codec: &dyn Codec = &Json;
/// let payload = codec.to_bytes(&vec![1, 2])?;
/// assert_eq!(payload, "[1,2]");
/// assert_eq!(codec.from_bytes::<Vec<u8>>(&payload)?, [1, 2]);
///
/// let error = codec.from_bytes::<Vec<u8>>(&r#"[1, "secret"]"#.into()).unwrap_err();
/// assert_eq!(error.to_string(),
///     "decode: the payload does not fit the type: expected u8 (line: 1, column: 12, field: [1])");
/// # Ok::<(), bus_api::Error>(())
/// ```
pub trait Codec: Send + Sync + 'static {
    /// The content type of what it writes, such as `application/json`: a bare media type in lower case.
    fn content_type(&self) -> &'static str;

    /// Whether it also reads `media_type` (in lower case, without parameters), such as an older name of
    /// its own. Asked only when no codec has it as its [`content_type`](Self::content_type).
    fn also_reads(&self, media_type: &str) -> bool {
        let _ = media_type;
        false
    }

    /// Encodes `value`.
    ///
    /// # Errors
    /// `Encode`, with a text that holds nothing of the value.
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Bytes>;

    /// Opens `payload` and lets `read` take the value out; bytes left over are an error.
    ///
    /// # Errors
    /// `Decode`, with a text that holds nothing of the payload. What `read` returns quotes the payload:
    /// it says where the value does not fit, but must not become part of the error as it stands.
    fn decode(
        &self,
        payload: &Bytes,
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> erased_serde::Result<()>,
    ) -> Result<()>;
}

impl dyn Codec {
    /// Encodes `value`.
    ///
    /// # Errors
    /// `Encode`.
    pub fn to_bytes<T: Serialize + ?Sized>(&self, value: &T) -> Result<Bytes> {
        self.encode(&value)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// `Decode`: says at which field the payload does not fit and why, in terms of types and field names.
    /// Elements are numbered from 0, `[2]` in a list and `{2}` in a map.
    pub fn from_bytes<T: DeserializeOwned>(&self, payload: &Bytes) -> Result<T> {
        let mut value = None;
        self.decode(payload, &mut |deserializer| {
            value = Some(erased_serde::deserialize(deserializer)?);
            Ok(())
        })
        .map_err(|error| misfit::explain::<T>(self, payload, error))?;
        value.ok_or_else(|| {
            let text = format!("the codec of {} read nothing", self.content_type());
            Error::new(ErrorKind::Internal, text)
        })
    }
}
