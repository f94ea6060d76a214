//! How long to wait before the next try.

use std::time::Duration;

/// Delays that double from `first` to `most`, each drawn evenly between nothing and all of it (full
/// jitter), so that clients that failed together do not come back together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) most: Duration,
}

impl Backoff {
    /// Between the tries of a publish.
    pub(crate) const PUBLISH: Self = Self {
        first: Duration::from_millis(50),
        most: Duration::from_secs(2),
    };

    /// The longest delay after `tries` (1-based) failed.
    pub(crate) fn ceiling(self, tries: u32) -> Duration {
        let doubled = tries.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doubled).min(self.most)
    }

    /// A delay after `tries` (1-based) failed.
    pub(crate) fn delay(self, tries: u32) -> Duration {
        self.ceiling(tries).mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_most() {
        let backoff = Backoff {
            first: Duration::from_millis(50),
            most: Duration::from_secs(2),
        };
        let millis = |tries| backoff.ceiling(tries).as_millis();
        assert_eq!(
            [0, 1, 2, 3, 6, 7, 32, 33, u32::MAX].map(millis),
            [50, 50, 100, 200, 1600, 2000, 2000, 2000, 2000]
        );
        assert!((0..1000).all(|_| backoff.delay(3) < Duration::from_millis(200)));
    }
}
