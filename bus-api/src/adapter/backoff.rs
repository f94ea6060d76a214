//! How long to wait for a broker that is away.

use std::time::Duration;

use tokio::time::Instant;

use super::Life;

/// Waits between tries at a broker that is away: 20 ms, doubled up to a second, each drawn evenly from its
/// upper half, so that clients that failed together do not come back together.
#[derive(Debug, Default)]
pub struct Backoff(u32);

impl Backoff {
    /// The broker has answered: the next wait is the shortest again.
    pub fn reset(&mut self) {
        self.0 = 0;
    }

    /// The length of the next wait.
    pub fn next_delay(&mut self) -> Duration {
        let base = 20_u64 << self.0.min(6);
        self.0 = self.0.saturating_add(1);
        Duration::from_millis((base.min(1_000) * fastrand::u64(50..=100)) / 100)
    }

    /// Waits, at most until `deadline` or the end of `life`.
    ///
    /// # Cancel safety
    /// Dropped, it counts as waited.
    pub async fn wait(&mut self, life: &Life, deadline: Option<Instant>) {
        let mut until = Instant::now() + self.next_delay();
        if let Some(deadline) = deadline {
            until = until.min(deadline);
        }
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = life.ended() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_second() {
        let mut backoff = Backoff::default();
        for most in [20, 40, 80, 160, 320, 640, 1_000, 1_000, 1_000] {
            let delay = backoff.next_delay().as_millis();
            assert!((most / 2..=most).contains(&delay), "{delay} of {most}");
        }
        backoff.reset();
        assert!(backoff.next_delay().as_millis() <= 20);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_and_the_deadline_cut_a_wait() {
        let (life, begun) = (Life::default(), Instant::now());
        let mut backoff = Backoff::default();
        backoff.wait(&life, Some(begun)).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        life.end();
        backoff.wait(&life, None).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
