//! The server's clock: what requester and responder have in common.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A reading that took longer to come than the best one is taken only when that one is so old.
const STALE: Duration = Duration::from_secs(60);

/// The server's time, and between which instants of ours it was read.
#[derive(Clone, Copy, Debug)]
struct Reading {
    server: SystemTime,
    asked: Instant,
    heard: Instant,
}

impl Reading {
    fn doubt(&self) -> Duration {
        self.heard - self.asked
    }
}

/// The server's clock, as well as this process knows it.
#[derive(Debug, Default)]
pub(crate) struct Clock(Mutex<Option<Reading>>);

impl Clock {
    /// The server said its time in an answer.
    pub(crate) fn read(&self, server: SystemTime, asked: Instant, heard: Instant) {
        let new = Reading {
            server,
            asked,
            heard,
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none_or(|old| new.doubt() <= old.doubt() || old.heard + STALE <= heard) {
            *known = Some(new);
        }
    }

    fn reading(&self) -> Option<Reading> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instant of ours by the server's clock, rather too early than too late.
    pub(crate) fn at_server(&self, at: Instant) -> Option<SystemTime> {
        let reading = self.reading()?;
        match at.checked_duration_since(reading.heard) {
            Some(later) => reading.server.checked_add(later),
            None => reading.server.checked_sub(reading.heard - at),
        }
    }

    /// A time of the server by our clock, rather too early than too late.
    pub(crate) fn here(&self, at: SystemTime) -> Option<Instant> {
        let reading = self.reading()?;
        match at.duration_since(reading.server) {
            Ok(later) => reading.asked.checked_add(later),
            Err(earlier) => reading.asked.checked_sub(earlier.duration()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_there_and_back_is_never_later() {
        let clock = Clock::default();
        let asked = Instant::now();
        assert_eq!(clock.at_server(asked), None);
        let heard = asked + Duration::from_millis(10);
        let server = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        clock.read(server, asked, heard);
        let at = asked + Duration::from_secs(5);
        let there = clock.at_server(at).unwrap();
        let back = clock.here(there).unwrap();
        assert!(back <= at && at - back <= Duration::from_millis(10));
        // A worse reading does not replace a better one until that is old.
        clock.read(server, asked, asked + Duration::from_secs(1));
        assert_eq!(clock.at_server(at), Some(there));
    }
}
