//! Maps by numbers.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by numbers that this process or the server counts up. Nobody else chooses them, so that spreading them is enough:
/// a hash that resists takes several times as long, and every message is looked up a dozen times.
pub(crate) type ByNumber<T> = HashMap<u64, T, BuildHasherDefault<Spread>>;

/// Spreads numbers that follow one another, also in steps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio, as an odd number of 64 bits.
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        // A map looks at the lowest bits and at the highest ones; those of the product say most about the number.
        self.0.rotate_left(26)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_in_steps_do_not_meet() {
        for step in [1, 2, 64, 1 << 16] {
            let low = |number: u64| {
                let mut spread = Spread::default();
                spread.write_u64(number * step);
                spread.finish() % 1_024
            };
            let places: HashSet<u64> = (0..1_024).map(low).collect();
            assert!(places.len() > 512, "{step}: {}", places.len());
        }
    }
}
