//! Stored messages as the API gives them: safe to read whatever another client has put into them.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

/// A stored message.
#[derive(Debug, Deserialize)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) seq: u64,
    #[serde(default)]
    data: String,
    #[serde(default)]
    hdrs: String,
    pub(crate) time: Timestamp,
}

impl Stored {
    pub(crate) fn payload(&self) -> Bytes {
        STANDARD.decode(&self.data).unwrap_or_default().into()
    }

    /// The block of headers as it is on the wire.
    pub(crate) fn header_block(&self) -> Bytes {
        STANDARD.decode(&self.hdrs).unwrap_or_default().into()
    }

    pub(crate) fn stored_at(&self) -> SystemTime {
        self.time.into()
    }
}

/// Takes a block of headers apart: names and values, byte for byte but for outer spaces.
pub(crate) fn headers(block: &Bytes) -> Vec<(Bytes, Bytes)> {
    let mut found = Vec::new();
    let mut rest = &block[..];
    let mut first = true;
    while !rest.is_empty() {
        let end = rest
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 2..).unwrap_or_default();
        // The first line is the version.
        if std::mem::take(&mut first) {
            continue;
        }
        if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            let value = line[colon + 1..].trim_ascii();
            found.push((block.slice_ref(&line[..colon]), block.slice_ref(value)));
        }
    }
    found
}

/// Why the client library cannot read a block of headers; none when it can.
pub(crate) fn unreadable(block: &[u8]) -> Option<&'static str> {
    if block.is_empty() {
        return None;
    }
    let Ok(text) = std::str::from_utf8(block) else {
        return Some("its headers are not UTF-8");
    };
    let mut lines = text.split("\r\n");
    if !lines
        .next()
        .is_some_and(|line| line.starts_with("NATS/1.0"))
    {
        return Some("its headers do not start with the version");
    }
    for line in lines.take_while(|line| !line.is_empty()) {
        let readable = line.split_once(':').is_some_and(|(name, value)| {
            name.parse::<async_nats::HeaderName>().is_ok()
                && value.trim().parse::<async_nats::HeaderValue>().is_ok()
        });
        if !readable {
            return Some("one of its headers has no legal name or value");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_taken_apart() {
        let block = Bytes::from_static(b"NATS/1.0\r\na: 1\r\nb:x:y\r\nbad\xff:\xff\r\n\r\n");
        let found = headers(&block);
        assert_eq!(found[0], ("a".into(), "1".into()));
        assert_eq!(found[1], ("b".into(), "x:y".into()));
        assert_eq!(&found[2].0[..], b"bad\xff");
        assert!(unreadable(&block).is_some());
    }

    #[test]
    fn what_the_client_reads_is_readable() {
        assert_eq!(unreadable(b""), None);
        assert_eq!(unreadable(b"NATS/1.0\r\nA: 1\r\nb:\r\n\r\n"), None);
        assert!(unreadable(b"NATS/1.0\r\nno colon\r\n\r\n").is_some());
        assert!(unreadable(b"HTTP/1.0\r\n\r\n").is_some());
    }
}
