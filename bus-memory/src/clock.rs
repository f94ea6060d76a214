//! Moments that no length of time can overflow.

use std::time::Duration;

use tokio::time::Instant;

/// Longer than any process lives: thirty years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The moment `after` from `now`, or one that never comes.
pub(crate) fn later(now: Instant, after: Duration) -> Instant {
    now + after.min(FAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_length_of_time_overflows() {
        let now = Instant::now();
        assert_eq!(
            later(now, Duration::from_secs(1)),
            now + Duration::from_secs(1)
        );
        assert_eq!(later(now, Duration::MAX), now + FAR);
    }
}
