//! Positions: where a message lies in its log.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::contract::token;
use crate::error::{Error, ErrorKind, Result};

/// Where a message lies: opaque to users, comparable only inside one log.
///
/// A position names its log *and the log's incarnation*, so that a log which was lost and made anew is
/// not taken for the old one. It carries the broker's store time, because a subscription that starts at
/// a position starts every other log at that time.
///
/// The text form (`Display` and `FromStr`) is stable; it is what the command line and dead letters use.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Position {
    log: Arc<str>,
    offset: Offset,
    stored_at: SystemTime,
}

/// A place in a log: two numbers, compared in order. Brokers with one number leave the second at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(pub u64, pub u64);

impl Position {
    /// For adapters: the position of the message at `offset` of `log`, stored at `stored_at`.
    #[must_use]
    pub fn new(log: Arc<str>, offset: Offset, stored_at: SystemTime) -> Self {
        Self {
            log,
            offset,
            stored_at,
        }
    }

    /// The adapter's name of the log, incarnation included.
    #[must_use]
    pub fn log(&self) -> &Arc<str> {
        &self.log
    }

    /// The place in the log.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The broker's time of storing, in whole milliseconds in the text form.
    #[must_use]
    pub fn stored_at(&self) -> SystemTime {
        self.stored_at
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self
            .stored_at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        write!(
            f,
            "{}@{}-{}@{millis}",
            self.log, self.offset.0, self.offset.1
        )
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Position({self})")
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                "a position is written LOG@NUMBER-NUMBER@MILLISECONDS, as the bus printed it",
            )
            .with("position", token::shorten(text))
        })
    }
}

fn parse(text: &str) -> Option<Position> {
    let (rest, millis) = text.rsplit_once('@')?;
    let (log, offset) = rest.rsplit_once('@')?;
    let (major, minor) = offset.split_once('-')?;
    let stored_at =
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis.parse().ok()?))?;
    let offset = Offset(major.parse().ok()?, minor.parse().ok()?);
    (!log.is_empty()).then(|| Position::new(log.into(), offset, stored_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_leads_back() {
        let stored_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let position = Position::new("bus.t@7".into(), Offset(42, 7), stored_at);
        assert_eq!(position.to_string(), "bus.t@7@42-7@1700000000123");
        assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
    }

    #[test]
    fn nonsense_is_an_error() {
        for wrong in [
            "",
            "a",
            "a@1@2",
            "a@1-x@2",
            "@1-2@3",
            "a@1-2@99999999999999999999",
        ] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }
}
