//! Payloads from the command line and from standard input.

use anyhow::{Context, Result};
use bytes::Bytes;
use serde::de::IgnoredAny;
use tokio::io::{AsyncReadExt, stdin};

/// `argument`; standard input for `-` and for nothing.
///
/// # Errors
/// Standard input cannot be read.
pub(crate) async fn read(argument: Option<&str>) -> Result<Bytes> {
    match argument {
        Some(text) if text != "-" => Ok(Bytes::copy_from_slice(text.as_bytes())),
        _ => {
            let mut bytes = Vec::new();
            let read = stdin().read_to_end(&mut bytes).await;
            read.context("cannot read standard input")?;
            Ok(bytes.into())
        }
    }
}

/// Whether it is one JSON value.
pub(crate) fn is_json(payload: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(payload).is_ok()
}

/// The content type of a payload of which nothing is said.
pub(crate) fn content_type(payload: &[u8]) -> &'static str {
    if is_json(payload) {
        "application/json"
    } else if std::str::from_utf8(payload).is_ok() {
        "text/plain"
    } else {
        "application/octet-stream"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_found_out() {
        for (payload, expected) in [
            (&b"{\"a\":1}"[..], "application/json"),
            (b"7", "application/json"),
            (b"hello", "text/plain"),
            (b"", "text/plain"),
            (b"\xff\x00", "application/octet-stream"),
        ] {
            assert_eq!(content_type(payload), expected);
        }
    }
}
