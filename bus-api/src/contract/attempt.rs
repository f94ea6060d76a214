//! What earlier attempts at a message left behind.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::contract::{format, leb128};
use crate::error::{Error, ErrorKind, Result};

/// What the bus itself records about a message of one subscription, kept by the adapter.
///
/// Only messages that failed or came back have one. A broker's own delivery counter is never used as
/// the attempt: it also counts hand-backs, rebalances and lost replies.
///
/// The stored form is the version byte 1, a flags byte (1: started), then failures, crashes, first and
/// last failure as LEB128 numbers, the times in milliseconds since 1970 plus one, 0 for none: at most
/// 32 bytes, typically 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Failures that a handler's outcome recorded.
    pub failures: u32,
    /// Deaths of a member in a started handler.
    pub crashes: u32,
    /// A member has started the handler and not yet said how it ended.
    pub started: bool,
    /// When the first failure was recorded.
    pub first_failure: Option<SystemTime>,
    /// When the last failure was recorded.
    pub last_failure: Option<SystemTime>,
}

impl AttemptRecord {
    /// The newest format version that this release reads and the one that it writes.
    pub const VERSION: u8 = 1;

    /// The attempt that a delivery with this record is: 1-based.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        1_u32
            .saturating_add(self.failures)
            .saturating_add(self.crashes)
    }

    /// The record with one more failure at `now`, no longer started.
    #[must_use]
    pub fn failed(self, now: SystemTime) -> Self {
        Self {
            failures: self.failures.saturating_add(1),
            ..self.ended(now)
        }
    }

    /// The record with one more crash, noticed at `now`, no longer started.
    #[must_use]
    pub fn crashed(self, now: SystemTime) -> Self {
        Self {
            crashes: self.crashes.saturating_add(1),
            ..self.ended(now)
        }
    }

    fn ended(self, now: SystemTime) -> Self {
        let first_failure = self.first_failure.or(Some(now));
        Self {
            started: false,
            first_failure,
            last_failure: Some(now),
            ..self
        }
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(24);
        out.extend([Self::VERSION, u8::from(self.started)]);
        for number in [
            u64::from(self.failures),
            u64::from(self.crashes),
            time_number(self.first_failure),
            time_number(self.last_failure),
        ] {
            leb128::put(&mut out, number);
        }
        out.into()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for a newer version, [`ErrorKind::Decode`] for a damaged record.
    pub fn decode(stored: &[u8]) -> Result<Self> {
        const WHAT: &str = "an attempt record";
        let (_, rest) = format::split_version(stored, Self::VERSION, WHAT)?;
        read(rest).ok_or_else(|| Error::new(ErrorKind::Decode, format!("{WHAT} is damaged")))
    }
}

fn read(rest: &[u8]) -> Option<AttemptRecord> {
    let (&flags, mut rest) = rest.split_first()?;
    let mut next = || leb128::take(&mut rest);
    Some(AttemptRecord {
        started: flags & 1 != 0,
        failures: next()?.try_into().ok()?,
        crashes: next()?.try_into().ok()?,
        first_failure: number_time(next()?)?,
        last_failure: number_time(next()?)?,
    })
}

fn time_number(time: Option<SystemTime>) -> u64 {
    time.map_or(0, |time| {
        let millis = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX - 1) + 1
    })
}

/// The outer `None` says that the number is no time.
fn number_time(number: u64) -> Option<Option<SystemTime>> {
    match number.checked_sub(1) {
        None => Some(None),
        Some(millis) => SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_millis(millis))
            .map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn the_stored_form_leads_back() {
        let record = AttemptRecord {
            started: true,
            ..AttemptRecord::default()
        };
        for record in [
            AttemptRecord::default(),
            record,
            record
                .failed(at(1_700_000_000_000))
                .crashed(at(1_700_000_000_500)),
            AttemptRecord {
                failures: u32::MAX,
                crashes: u32::MAX,
                ..record
            },
        ] {
            assert_eq!(AttemptRecord::decode(&record.encode()).unwrap(), record);
            assert!(record.encode().len() <= 32);
        }
    }

    #[test]
    fn failures_and_crashes_raise_the_attempt() {
        let record = AttemptRecord::default();
        assert_eq!(record.attempt(), 1);
        let record = record.failed(at(1)).crashed(at(2)).failed(at(3));
        assert_eq!(record.attempt(), 4);
        assert_eq!(
            (record.first_failure, record.last_failure),
            (Some(at(1)), Some(at(3)))
        );
    }

    #[test]
    fn a_newer_version_is_unsupported_and_damage_is_an_error() {
        let mut stored = AttemptRecord::default().encode().to_vec();
        stored[0] = AttemptRecord::VERSION + 1;
        assert_eq!(
            AttemptRecord::decode(&stored).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
        for damaged in [
            &[][..],
            &[1],
            &[1, 0, 0x80],
            &[
                1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ],
        ] {
            assert!(AttemptRecord::decode(damaged).is_err());
        }
    }
}
