//! Who was received how often.

use std::time::{Duration, Instant};

/// Counts the messages of a load as they are received.
#[derive(Debug)]
pub(crate) struct Tally {
    seen: Vec<u8>,
    missing: usize,
    duplicated: u64,
    first: Option<Instant>,
}

impl Tally {
    pub(crate) fn new(messages: usize) -> Self {
        Self {
            seen: vec![0; messages],
            missing: messages,
            duplicated: 0,
            first: None,
        }
    }

    /// How long ago the first message came: what joining a group took before is not in it.
    pub(crate) fn since_first(&self) -> Duration {
        self.first.map_or(Duration::ZERO, |first| first.elapsed())
    }

    /// Takes a payload that [`Load::payload`](crate::load::Load::payload) made.
    pub(crate) fn take(&mut self, payload: &[u8]) {
        let number = payload
            .first_chunk()
            .map(|first| u64::from_le_bytes(*first));
        self.note(number);
    }

    /// Message `number` was received; none: it has none.
    pub(crate) fn note(&mut self, number: Option<u64>) {
        if self.first.is_none() {
            self.first = Some(Instant::now());
        }
        let place = number.and_then(|number| usize::try_from(number).ok());
        match place.and_then(|place| self.seen.get_mut(place)) {
            Some(seen) if *seen == 0 => {
                *seen = 1;
                self.missing -= 1;
            }
            // Also what nobody has sent.
            _ => self.duplicated += 1,
        }
    }

    /// Whether every message was received.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Messages that were not received.
    pub(crate) fn lost(&self) -> u64 {
        self.missing as u64
    }

    /// How often one was received again.
    pub(crate) fn duplicated(&self) -> u64 {
        self.duplicated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Load;

    #[test]
    fn what_comes_twice_or_not_at_all_is_counted() {
        let load = Load {
            root: "a".to_owned(),
            messages: 3,
            bytes: 256,
        };
        let mut tally = Tally::new(3);
        for number in [2, 0, 2] {
            tally.take(&load.payload(number));
        }
        assert_eq!((tally.lost(), tally.duplicated()), (1, 1));
        assert!(!tally.is_complete());
        tally.take(&load.payload(1));
        assert!(tally.is_complete());
        tally.take(b"short");
        assert_eq!(tally.duplicated(), 2);
    }
}
