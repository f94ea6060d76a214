//! JSON.

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::event::Codec;

/// JSON: the default codec. Also reads `text/json` and every `..+json`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Codec for Json {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn also_reads(&self, media_type: &str) -> bool {
        media_type == "text/json" || media_type.ends_with("+json")
    }

    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Bytes> {
        let mut out = Vec::with_capacity(256);
        let mut serializer = serde_json::Serializer::new(&mut out);
        erased_serde::serialize(value, &mut serializer).map_err(|_| {
            let text = "the value has no JSON form: a map key that is no text or number, or a field \
                        whose own `Serialize` refused";
            Error::new(ErrorKind::Encode, text)
        })?;
        Ok(out.into())
    }

    fn decode(
        &self,
        payload: &Bytes,
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> erased_serde::Result<()>,
    ) -> Result<()> {
        let mut json = serde_json::Deserializer::from_slice(payload);
        read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json))
            .map_err(|error| failed(&error.to_string()))?;
        json.end().map_err(|error| failed(&error.to_string()))
    }
}

/// Only where and of which category: the rest of serde's text may quote the payload.
fn failed(text: &str) -> Error {
    let problem = if text.starts_with("EOF while parsing") {
        "the JSON ends too early"
    } else if text.starts_with("trailing characters") {
        "there is more after the JSON value"
    } else {
        "the JSON is not valid or does not fit the type"
    };
    let error = Error::new(ErrorKind::Decode, problem);
    match place(text) {
        Some((line, column)) => error.with("line", line).with("column", column),
        None => error,
    }
}

/// The place that serde_json appends to its texts: ` at line 1 column 2`.
fn place(text: &str) -> Option<(usize, usize)> {
    let (_, place) = text.rsplit_once(" at line ")?;
    let (line, column) = place.split_once(" column ")?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of<T: serde::de::DeserializeOwned>(payload: &'static str) -> Error {
        let codec: &dyn Codec = &Json;
        let Err(error) = codec.from_bytes::<T>(&Bytes::from_static(payload.as_bytes())) else {
            panic!("{payload} was read");
        };
        assert_eq!(error.kind(), ErrorKind::Decode);
        error
    }

    #[test]
    fn a_failure_says_where_and_quotes_nothing() {
        for (payload, expected) in [
            ("", "the JSON ends too early (line: 1, column: 0)"),
            ("[1,\n\"secret\"]", "(line: 2, column: 8, field: [1])"),
            (
                "[1] secret",
                "there is more after the JSON value (line: 1, column: 5)",
            ),
            ("secret", "(line: 1, column: 1)"),
            ("[1", "the JSON ends too early (line: 1, column: 2"),
        ] {
            let text = error_of::<Vec<u64>>(payload).to_string();
            assert!(text.contains(expected), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn a_failure_to_encode_quotes_nothing() {
        let map = std::collections::BTreeMap::from([(vec!["secret"], 1)]);
        let error = (&Json as &dyn Codec).to_bytes(&map).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Encode);
        assert!(!error.to_string().contains("secret"));
    }
}
