//! Dead letters that are too large for one message.
//!
//! A message of another client may be as large as the server takes, and its dead letter says more than the
//! message did. The entry then holds nothing but where its parts are, in the stream of bookkeeping.

use async_nats::HeaderMap;
use bus_api::{ErrorKind, Result};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;

use crate::core::Core;
use crate::error::{error, senseless};
use crate::keys::Keys;
use crate::link::wire_size;
use crate::wire::{self, put};

/// The header of an entry in parts: what they are called, and how many there are.
const PARTS: &str = "bus-parts";
/// The most that JetStream takes of headers.
const HEADERS: usize = 65_000;
/// The format of what the parts are together.
const VERSION: u8 = 1;

/// Whether one message can hold this.
pub(crate) fn fits(headers: &HeaderMap, payload: &Bytes, most: usize) -> bool {
    let size = wire_size(headers);
    size <= HEADERS && size + payload.len() <= most
}

/// Headers and payload in parts with their subjects, and the header of the entry at `subject`.
///
/// Each try to store an entry has parts of its own: what another one wrote of the same entry stays whole.
pub(crate) fn cut(
    keys: &Keys,
    subject: &str,
    headers: &HeaderMap,
    payload: &Bytes,
    most: usize,
) -> Result<(HeaderMap, Vec<(String, Bytes)>)> {
    let mut block = BytesMut::new();
    for (name, value) in wire::pairs(Some(headers)) {
        block.put_slice(name);
        block.put_slice(b": ");
        block.put_slice(value);
        block.put_slice(b"\r\n");
    }
    let mut whole = BytesMut::with_capacity(5 + block.len() + payload.len());
    whole.put_u8(VERSION);
    whole.put_u32(u32::try_from(block.len()).map_err(|_| senseless("cutting a dead letter"))?);
    whole.put_slice(&block);
    whole.put_slice(payload);
    let name = uuid::Uuid::new_v4().simple().to_string();
    let mut whole = whole.freeze();
    let mut parts = Vec::new();
    while !whole.is_empty() {
        let part = whole.split_to(whole.len().min(most.max(1)));
        parts.push((keys.part(subject, &name, parts.len()), part));
    }
    let mut marker = HeaderMap::new();
    put(&mut marker, PARTS, &format!("{name} {}", parts.len()))?;
    Ok((marker, parts))
}

/// Where the parts of an entry are, when it has some.
pub(crate) struct Parts {
    name: String,
    count: usize,
}

/// Reads the header of an entry in parts.
pub(crate) fn parts(pairs: &[(&[u8], &[u8])]) -> Option<Parts> {
    let (_, value) = pairs.iter().find(|(name, _)| *name == PARTS.as_bytes())?;
    let (name, count) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    Some(Parts {
        name: name.to_owned(),
        count: count.parse().ok()?,
    })
}

/// Reads the parts of the entry at `subject`: its headers and its payload. None when one of them is gone,
/// and with it the entry.
///
/// # Errors
/// `Unsupported` for what a newer release has written.
pub(crate) async fn collect(
    core: &Core,
    subject: &str,
    parts: &Parts,
) -> Result<Option<(Vec<(Bytes, Bytes)>, Bytes)>> {
    let mut whole = BytesMut::new();
    for index in 0..parts.count {
        let question = json!({"last_by_subj": core.keys.part(subject, &parts.name, index)});
        let Some(stored) = core.get(&core.keys.books(), &question).await? else {
            return Ok(None);
        };
        whole.put_slice(&stored.payload());
    }
    take_apart(whole.freeze()).map(Some)
}

fn take_apart(mut whole: Bytes) -> Result<(Vec<(Bytes, Bytes)>, Bytes)> {
    let wrong = || senseless("reading a dead letter in parts");
    if *whole.first().ok_or_else(wrong)? > VERSION {
        return Err(error(
            ErrorKind::Unsupported,
            "a newer release has written this dead letter",
        ));
    }
    let length: [u8; 4] = whole
        .get(1..5)
        .and_then(|length| length.try_into().ok())
        .ok_or_else(wrong)?;
    let length = u32::from_be_bytes(length) as usize;
    if whole.len() < 5 + length {
        return Err(wrong());
    }
    let _ = whole.split_to(5);
    let mut block = whole.split_to(length);
    let mut headers = Vec::new();
    while !block.is_empty() {
        let end = block
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .ok_or_else(wrong)?;
        let line = block.split_to(end);
        let _ = block.split_to(2);
        let colon = line
            .windows(2)
            .position(|pair| pair == b": ")
            .ok_or_else(wrong)?;
        headers.push((line.slice(..colon), line.slice(colon + 2..)));
    }
    Ok((headers, whole))
}

#[cfg(test)]
mod tests {
    use bus_api::Namespace;

    use super::*;

    #[test]
    fn what_is_cut_is_whole_again() {
        let keys = Keys::new(Namespace::new("x").unwrap());
        let mut headers = HeaderMap::new();
        put(&mut headers, "a", "1: 2").unwrap();
        put(&mut headers, "b", "").unwrap();
        let payload = Bytes::from_static(b"payload\r\n of any bytes\xff");
        assert!(fits(&headers, &payload, 100) && !fits(&headers, &payload, 40));
        let (marker, cut) = cut(&keys, "x.d.g.1", &headers, &payload, 10).unwrap();
        let found = parts(&wire::pairs(Some(&marker))).unwrap();
        assert_eq!(found.count, cut.len());
        let mut whole = BytesMut::new();
        for (index, (subject, part)) in cut.iter().enumerate() {
            assert!(part.len() <= 10);
            assert_eq!(*subject, format!("x.m.d.g.1.{}.{index}", found.name));
            whole.put_slice(part);
        }
        let (headers, read) = take_apart(whole.freeze()).unwrap();
        assert_eq!(read, payload);
        assert_eq!(
            headers,
            [("a".into(), "1: 2".into()), ("b".into(), "".into())]
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (bytes, kind) in [
            (&b""[..], ErrorKind::Internal),
            (b"\x01\0\0", ErrorKind::Internal),
            (b"\x01\0\0\0\x09a: 1", ErrorKind::Internal),
            (b"\x01\0\0\0\x04a: 1", ErrorKind::Internal),
            (b"\x02\0\0\0\0", ErrorKind::Unsupported),
        ] {
            let refused = take_apart(Bytes::from_static(bytes)).unwrap_err();
            assert_eq!(refused.kind(), kind, "{bytes:?}");
        }
    }
}
