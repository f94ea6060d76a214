//! Replies of the server, taken apart without panics and without copies.

use bus_api::{Offset, Result};
use bytes::Bytes;
use redis::Value;

use crate::error::senseless;

/// Takes replies apart; `WHAT` is named when they make no sense.
pub(crate) trait Take: Sized {
    fn array(self, what: &'static str) -> Result<Vec<Value>>;
    fn bytes(self, what: &'static str) -> Result<Bytes>;
    fn text(self, what: &'static str) -> Result<String>;
    fn int(&self, what: &'static str) -> Result<i64>;
}

impl Take for Value {
    fn array(self, what: &'static str) -> Result<Vec<Value>> {
        match self {
            Self::Array(values) | Self::Set(values) => Ok(values),
            Self::Nil => Ok(Vec::new()),
            _ => Err(senseless(what)),
        }
    }

    fn bytes(self, what: &'static str) -> Result<Bytes> {
        match self {
            Self::BulkString(bytes) => Ok(bytes.into()),
            Self::SimpleString(text) => Ok(text.into()),
            Self::Int(number) => Ok(number.to_string().into()),
            Self::Okay => Ok("OK".into()),
            _ => Err(senseless(what)),
        }
    }

    fn text(self, what: &'static str) -> Result<String> {
        String::from_utf8(self.bytes(what)?.into()).map_err(|_| senseless(what))
    }

    fn int(&self, what: &'static str) -> Result<i64> {
        match self {
            Self::Int(number) => Ok(*number),
            Self::BulkString(bytes) => std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| senseless(what)),
            _ => Err(senseless(what)),
        }
    }
}

/// The fields of an entry.
pub(crate) type Fields = Vec<(Bytes, Bytes)>;

pub(crate) fn fields(value: Value, what: &'static str) -> Result<Fields> {
    let mut items = value.array(what)?.into_iter();
    let mut fields = Vec::with_capacity(items.len() / 2);
    while let (Some(name), Some(value)) = (items.next(), items.next()) {
        fields.push((name.bytes(what)?, value.bytes(what)?));
    }
    Ok(fields)
}

/// Entries as `XRANGE` gives them.
pub(crate) fn entries(value: Value, what: &'static str) -> Result<Vec<(Offset, Fields)>> {
    let mut entries = Vec::new();
    for entry in value.array(what)? {
        let mut parts = entry.array(what)?.into_iter();
        let (Some(id), Some(body)) = (parts.next(), parts.next()) else {
            return Err(senseless(what));
        };
        entries.push((
            offset(&id.text(what)?).ok_or_else(|| senseless(what))?,
            fields(body, what)?,
        ));
    }
    Ok(entries)
}

/// The server's time in whole milliseconds, as `TIME` gives it.
pub(crate) fn millis(time: Value, what: &'static str) -> Result<i64> {
    let [seconds, micros] = &time.array(what)?[..] else {
        return Err(senseless(what));
    };
    Ok(seconds.int(what)? * 1_000 + micros.int(what)? / 1_000)
}

/// An id `ms-seq`.
pub(crate) fn offset(id: &str) -> Option<Offset> {
    let (ms, seq) = id.split_once('-')?;
    Some(Offset(ms.parse().ok()?, seq.parse().ok()?))
}

/// The text of an id.
pub(crate) fn id(offset: Offset) -> String {
    format!("{}-{}", offset.0, offset.1)
}

/// The greatest id below this one: what `XGROUP CREATE` and `XREAD` need to begin with it.
pub(crate) fn before(offset: Offset) -> String {
    match (offset.0, offset.1) {
        (0, 0) => "0-0".to_owned(),
        (ms, 0) => id(Offset(ms - 1, u64::MAX)),
        (ms, seq) => id(Offset(ms, seq - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_is_the_id_below() {
        assert_eq!(before(Offset(5, 3)), "5-2");
        assert_eq!(before(Offset(5, 0)), "4-18446744073709551615");
        assert_eq!(before(Offset(0, 0)), "0-0");
    }
}
