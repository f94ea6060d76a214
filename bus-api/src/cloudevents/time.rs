//! Times: RFC 3339 with microseconds.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// With microseconds, whether there are any or not.
const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

/// `2026-01-02T03:04:05.678901Z`; a time that has no such form becomes the nearest one that has.
pub(super) fn write(time: SystemTime) -> String {
    let timestamp = Timestamp::try_from(time).unwrap_or_else(|_| {
        if time < SystemTime::UNIX_EPOCH {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        }
    });
    PRINTER.timestamp_to_string(&floor(timestamp))
}

/// Whole microseconds, cut as [`Metadata::time`](crate::Metadata::time) is.
fn floor(timestamp: Timestamp) -> Timestamp {
    let micros = timestamp.as_nanosecond().div_euclid(1_000);
    i64::try_from(micros)
        .ok()
        .and_then(|micros| Timestamp::from_microsecond(micros).ok())
        .unwrap_or(timestamp)
}

/// Reads any RFC 3339 time, to the microsecond.
pub(super) fn read(text: &str) -> Option<SystemTime> {
    let micros = floor(text.parse::<Timestamp>().ok()?).as_microsecond();
    let distance = Duration::from_micros(micros.unsigned_abs());
    if micros < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_microseconds() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
        assert_eq!(write(time), "2023-11-14T22:13:20.123456Z");
        let cut = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        assert_eq!(read(&write(time)), Some(cut));
        let early = SystemTime::UNIX_EPOCH - Duration::from_micros(1);
        assert_eq!(write(early), "1969-12-31T23:59:59.999999Z");
        assert_eq!(read(&write(early)), Some(early));
    }

    #[test]
    fn times_of_others_are_read() {
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for text in [
            "2023-11-14T22:13:20Z",
            "2023-11-14T23:13:20+01:00",
            "2023-11-14t22:13:20.000000000z",
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
        for wrong in ["", "now", "2023-11-14", "2023-11-14T22:13:20", "1700000000"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_without_such_a_form_become_the_nearest() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 60);
        assert!(write(far).starts_with("9999-12-"));
        assert!(read(&write(far)).is_some());
    }
}
