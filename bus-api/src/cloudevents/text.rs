//! Values on wires that do not take every text.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

/// What the CloudEvents bindings of HTTP and NATS ask to encode: everything outside U+0021 to U+007E, and the
/// space, the double quote and the percent sign.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Percent-encodes a value.
pub(super) fn encode(value: &[u8]) -> Cow<'_, str> {
    // Most have nothing to encode. All bytes are looked at, without a branch, which takes many of them at a time.
    let is_plain = value
        .iter()
        .fold(true, |plain, byte| plain & is_kept(*byte));
    match std::str::from_utf8(value) {
        Ok(plain) if is_plain => Cow::Borrowed(plain),
        _ => percent_encode(value, ENCODED).into(),
    }
}

/// Whether [`ENCODED`] leaves a byte as it is.
const fn is_kept(byte: u8) -> bool {
    byte.is_ascii_graphic() & (byte != b'"') & (byte != b'%')
}

/// Undoes [`encode`], byte for byte.
pub(super) fn decode(value: &[u8]) -> Cow<'_, [u8]> {
    percent_decode(value).into()
}

/// Reads a value of the NATS binding: a quoted string or not, percent-encoded. `None` when it is not UTF-8.
pub(super) fn read(value: &[u8]) -> Option<Cow<'_, str>> {
    let unquoted = match value {
        [b'"', quoted @ .., b'"'] => Cow::Owned(unescape(quoted)),
        plain => Cow::Borrowed(plain),
    };
    match unquoted {
        Cow::Borrowed(bytes) if !bytes.contains(&b'%') => {
            std::str::from_utf8(bytes).ok().map(Cow::Borrowed)
        }
        Cow::Borrowed(bytes) => percent_decode(bytes).decode_utf8().ok(),
        Cow::Owned(bytes) => {
            let text = percent_decode(&bytes).decode_utf8().ok()?;
            Some(Cow::Owned(text.into_owned()))
        }
    }
}

/// Takes the backslashes of a quoted string away.
fn unescape(quoted: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => plain.extend(bytes.next()),
            byte => plain.push(byte),
        }
    }
    plain
}

/// Whether a NATS header holds the value as it stands: on one line, printable, and not trimmed.
pub(super) fn is_plain_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    !bytes.is_empty()
        && bytes.iter().all(|byte| matches!(byte, 0x20..=0x7e))
        && bytes.first() != Some(&b' ')
        && bytes.last() != Some(&b' ')
}

/// Whether a NATS header takes the name as it stands.
pub(super) fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_the_nats_binding() {
        for (value, written) in [
            ("plain-1!~", "plain-1!~"),
            ("a b\"c%", "a%20b%22c%25"),
            ("Euro €", "Euro%20%E2%82%AC"),
            ("\n\u{7f}", "%0A%7F"),
            ("", ""),
        ] {
            assert_eq!(encode(value.as_bytes()), written);
            assert_eq!(read(written.as_bytes()).as_deref(), Some(value));
        }
        for (written, value) in [
            (r#""a b""#, Some("a b")),
            (r#""a\"b\\c%20d""#, Some("a\"b\\c d")),
            ("100%", Some("100%")),
            ("%zz", Some("%zz")),
            ("\"", Some("\"")),
            ("%ff", None),
            ("%C3%28", None),
        ] {
            assert_eq!(read(written.as_bytes()).as_deref(), value, "{written}");
        }
        assert_eq!(read(b"\xff"), None);
    }
}
