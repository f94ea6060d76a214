//! Payloads whose encoding this command does not know.

use bus::{Codec, Error, ErrorKind, Result};
use bytes::Bytes;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer, StringDeserializer};

/// Reads payloads of every content type that no other codec reads: text as it is, other bytes as hex digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verbatim;

impl Codec for Verbatim {
    fn content_type(&self) -> &'static str {
        "text/plain"
    }

    fn also_reads(&self, _media_type: &str) -> bool {
        true
    }

    fn encode(&self, _value: &dyn erased_serde::Serialize) -> Result<Bytes> {
        Err(Error::new(
            ErrorKind::Encode,
            "payloads are given as bytes, not as values",
        ))
    }

    fn decode(
        &self,
        payload: &Bytes,
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> erased_serde::Result<()>,
    ) -> Result<()> {
        let read = match std::str::from_utf8(payload) {
            Ok(text) => {
                let input: StrDeserializer<'_, ValueError> = text.into_deserializer();
                read(&mut <dyn erased_serde::Deserializer<'_>>::erase(input))
            }
            Err(_) => {
                let input: StringDeserializer<ValueError> =
                    hex::encode(payload).into_deserializer();
                read(&mut <dyn erased_serde::Deserializer<'_>>::erase(input))
            }
        };
        read.map_err(|_| Error::new(ErrorKind::Decode, "the payload is neither text nor bytes"))
    }
}
