//! Counting each webhook: none lost, none twice.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// How often each webhook was seen, by its number in the order of publishing.
pub struct Tally {
    seen: Vec<AtomicU8>,
    distinct: AtomicU64,
    again: AtomicU64,
}

impl Tally {
    /// For webhooks numbered below `size`.
    pub fn new(size: u64) -> Self {
        Self {
            seen: (0..size).map(|_| AtomicU8::new(0)).collect(),
            distinct: AtomicU64::new(0),
            again: AtomicU64::new(0),
        }
    }

    /// Counts the webhook with this number; one that was never sent counts as one too many.
    pub fn count(&self, number: u64) {
        let first = usize::try_from(number)
            .ok()
            .and_then(|index| self.seen.get(index))
            .is_some_and(|seen| seen.swap(1, Ordering::Relaxed) == 0);
        let counter = if first { &self.distinct } else { &self.again };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were seen.
    pub fn distinct(&self) -> u64 {
        self.distinct.load(Ordering::Relaxed)
    }

    /// How often any came.
    pub fn seen(&self) -> u64 {
        self.distinct() + self.duplicates()
    }

    /// How often one came that had been seen already.
    pub fn duplicates(&self) -> u64 {
        self.again.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_and_strangers_are_told_apart_from_first_sights() {
        let tally = Tally::new(3);
        for number in [2, 0, 2, 3, u64::MAX] {
            tally.count(number);
        }
        assert_eq!((tally.distinct(), tally.duplicates()), (2, 3));
    }
}
