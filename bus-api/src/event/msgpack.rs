//! MessagePack.

use std::io::Cursor;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::event::Codec;

/// As deep as JSON may be, so that no payload exhausts the stack.
const MAX_DEPTH: usize = 128;

/// MessagePack with named fields, so that fields can be added and reordered as in JSON (feature
/// `msgpack`).
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagePack;

impl Codec for MessagePack {
    fn content_type(&self) -> &'static str {
        "application/msgpack"
    }

    fn also_reads(&self, media_type: &str) -> bool {
        matches!(
            media_type,
            "application/x-msgpack" | "application/vnd.msgpack"
        ) || media_type.ends_with("+msgpack")
    }

    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Bytes> {
        let mut out = Vec::with_capacity(256);
        let mut serializer = rmp_serde::Serializer::new(&mut out).with_struct_map();
        erased_serde::serialize(value, &mut serializer).map_err(|_| {
            let text = "the value has no MessagePack form: a sequence or map of unknown length, or a \
                        field whose own `Serialize` refused";
            Error::new(ErrorKind::Encode, text)
        })?;
        Ok(out.into())
    }

    fn decode(
        &self,
        payload: &Bytes,
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> erased_serde::Result<()>,
    ) -> Result<()> {
        let mut input = rmp_serde::Deserializer::new(Cursor::new(payload.as_ref()));
        input.set_max_depth(MAX_DEPTH);
        let result = read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut input));
        let position = input.position();
        let problem = match result {
            Ok(()) if position == payload.len() as u64 => return Ok(()),
            Ok(()) => "there is more after the MessagePack value",
            Err(_) => "the MessagePack is not valid or does not fit the type",
        };
        Err(Error::new(ErrorKind::Decode, problem).with("byte", position))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        a: u8,
        b: String,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New {
        b: String,
        c: Option<u8>,
    }

    #[test]
    fn fields_are_named() {
        let codec: &dyn Codec = &MessagePack;
        let old = Old {
            a: 1,
            b: "x".to_owned(),
        };
        let payload = codec.to_bytes(&old).unwrap();
        assert_eq!(codec.from_bytes::<Old>(&payload).unwrap(), old);
        let new = codec.from_bytes::<New>(&payload).unwrap();
        assert_eq!((new.b.as_str(), new.c), ("x", None));
    }

    #[test]
    fn a_failure_quotes_nothing() {
        let codec: &dyn Codec = &MessagePack;
        let payload = codec.to_bytes(&["secret"]).unwrap();
        let mut longer = payload.to_vec();
        longer.push(0);
        for (payload, fits) in [
            (payload.clone(), false),
            (payload.slice(..3), true),
            (longer.into(), true),
            (Bytes::new(), true),
        ] {
            let error = if fits {
                codec.from_bytes::<[String; 1]>(&payload).unwrap_err()
            } else {
                codec.from_bytes::<Vec<u64>>(&payload).unwrap_err()
            };
            assert_eq!(error.kind(), ErrorKind::Decode);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
