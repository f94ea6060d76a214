//! Messages lead back to themselves over every wire, and nothing that arrives there panics.
//!
//! `PROPTEST_CASES=1000000 cargo test -p bus-api --release --test wire` runs a million inputs of each
//! property.
#![allow(clippy::unwrap_used)]

mod codecs;
mod foreign;
mod inputs;
mod properties;

use std::time::{Duration, SystemTime};

use bus_api::cloudevents::{self, Decoded, Extent, Known, Style};
use bus_api::{Message, Offset, Position, Topic};
use bytes::Bytes;

const STYLES: [Style; 3] = [Style::Kafka, Style::Nats, Style::Redis];

type Pairs = Vec<(Bytes, Bytes)>;

/// What the wire makes of what is written: NATS takes one line of ASCII and trims it.
fn written(message: &Message, style: Style, extent: Extent) -> Pairs {
    let mut pairs = Vec::new();
    cloudevents::write(message, style, extent, &mut |name, value| {
        let mut value = value;
        if style == Style::Nats {
            let fits = |b: u8| b.is_ascii_graphic() && b != b':';
            assert!(name.bytes().all(fits), "{name}");
            assert!(value.iter().all(|b| matches!(b, 0x20..=0x7e)), "{name}");
            value = value.trim_ascii();
        }
        pairs.push((
            Bytes::copy_from_slice(name.as_bytes()),
            Bytes::copy_from_slice(value),
        ));
    });
    if style == Style::Redis {
        pairs.push(("data".into(), message.payload.clone()));
    }
    pairs
}

fn read(
    style: Style,
    extent: Extent,
    pairs: &Pairs,
    payload: &Bytes,
    known: &Known<'_>,
) -> bus_api::Result<Decoded> {
    if style == Style::Redis {
        return cloudevents::read_entry(extent, pairs, known);
    }
    let pairs = pairs.iter().map(|(name, value)| (&name[..], &value[..]));
    cloudevents::read(style, extent, pairs, payload.clone(), known)
}

fn position() -> Position {
    let stored_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    Position::new("log".into(), Offset(4, 2), stored_at)
}

fn known(position: &Position) -> Known<'_> {
    Known::at(position, Topic::new("known.topic").unwrap(), "test")
}
