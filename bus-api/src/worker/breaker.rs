//! The breaker: stops fetching while something that the handlers need is away.

use std::time::Duration;

use tokio::time::Instant;

/// Stops fetching after a number of consecutive failures that say that something the handlers need
/// is away; then lets one message through at a time until one shows that it is back.
///
/// Which failures count, [`Retry::unavailable_if`](crate::Retry::unavailable_if) says. Waiting
/// costs no message an attempt: nothing is handed to a handler meanwhile, and a message that is
/// tried while the breaker is open and fails for the same reason is deferred.
///
/// ```
/// # use std::time::Duration;
/// # use bus_api::Breaker;
/// let breaker = Breaker::after(10).pause(Duration::from_secs(5));
/// # let _ = breaker;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    pause: Duration,
}

impl Breaker {
    /// Opens after `failures` consecutive ones (at least 1), for pauses of 10 seconds.
    #[must_use]
    pub fn after(failures: u32) -> Self {
        Self {
            failures: failures.max(1),
            pause: Duration::from_secs(10),
        }
    }

    /// How long nothing is tried after the last failure.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }
}

/// Whether the worker may take a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// As many as it likes.
    Open,
    /// One, now.
    Probe,
    /// None before this instant.
    Until(Instant),
    /// None before the running probe has ended.
    Wait,
}

/// The state of a worker's breaker.
#[derive(Debug)]
pub(crate) struct BreakerState {
    breaker: Breaker,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Working; so many failures in a row.
    Working(u32),
    /// Away; the next try is at this instant.
    Away(Instant),
    /// Away; one message is being tried.
    Trying,
}

impl BreakerState {
    pub(crate) fn new(breaker: Breaker) -> Self {
        Self {
            breaker,
            phase: Phase::Working(0),
        }
    }

    /// Whether a delivery may be taken at `now`.
    pub(crate) fn gate(&self, now: Instant) -> Gate {
        match self.phase {
            Phase::Working(_) => Gate::Open,
            Phase::Away(until) if until <= now => Gate::Probe,
            Phase::Away(until) => Gate::Until(until),
            Phase::Trying => Gate::Wait,
        }
    }

    /// Whether it holds deliveries back.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Working(_))
    }

    /// A probe was started.
    pub(crate) fn probing(&mut self) {
        self.phase = Phase::Trying;
    }

    /// A message ended without saying anything about what the handlers need, such as one of an
    /// unknown type: the next one is the probe.
    pub(crate) fn inconclusive(&mut self, now: Instant) {
        if self.phase == Phase::Trying {
            self.phase = Phase::Away(now);
        }
    }

    /// A handler ended at `now`. Returns how long to defer the message instead of counting its failure.
    pub(crate) fn ended(
        &mut self,
        probe: bool,
        unavailable: bool,
        now: Instant,
    ) -> Option<Duration> {
        let pause = self.breaker.pause;
        let away = Phase::Away(now.checked_add(pause).unwrap_or(now));
        match self.phase {
            Phase::Working(_) if !unavailable => self.phase = Phase::Working(0),
            Phase::Working(failures) => {
                let failures = failures.saturating_add(1);
                let open = failures >= self.breaker.failures;
                self.phase = if open { away } else { Phase::Working(failures) };
            }
            // What was started before the breaker opened proves nothing about now.
            Phase::Away(_) | Phase::Trying if !probe => return unavailable.then_some(pause),
            Phase::Away(_) | Phase::Trying if unavailable => {
                self.phase = away;
                return Some(pause);
            }
            Phase::Away(_) | Phase::Trying => self.phase = Phase::Working(0),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    fn state() -> BreakerState {
        BreakerState::new(Breaker::after(3).pause(PAUSE))
    }

    #[test]
    fn it_opens_after_consecutive_failures_only() {
        let (mut state, now) = (state(), Instant::now());
        for unavailable in [true, true, false, true, true] {
            assert_eq!(state.ended(false, unavailable, now), None);
            assert_eq!(state.gate(now), Gate::Open);
        }
        assert_eq!(
            state.ended(false, true, now),
            None,
            "the one that opens it counts"
        );
        assert_eq!(state.gate(now), Gate::Until(now + PAUSE));
    }

    #[test]
    fn one_probe_at_a_time_decides() {
        let (mut state, now) = (state(), Instant::now());
        for _ in 0..3 {
            state.ended(false, true, now);
        }
        let later = now + PAUSE;
        assert_eq!(state.gate(later), Gate::Probe);
        state.probing();
        assert_eq!(state.gate(later), Gate::Wait);
        assert_eq!(
            state.ended(true, true, later),
            Some(PAUSE),
            "a failed probe costs no attempt"
        );
        assert_eq!(state.gate(later), Gate::Until(later + PAUSE));
        let later = later + PAUSE;
        state.probing();
        state.inconclusive(later);
        assert_eq!(state.gate(later), Gate::Probe);
        state.probing();
        assert_eq!(state.ended(true, false, later), None);
        assert_eq!(state.gate(later), Gate::Open);
    }

    #[test]
    fn what_was_running_when_it_opened_is_deferred_and_proves_nothing() {
        let (mut state, now) = (state(), Instant::now());
        for _ in 0..3 {
            state.ended(false, true, now);
        }
        assert_eq!(state.ended(false, true, now), Some(PAUSE));
        assert_eq!(state.ended(false, false, now), None);
        assert_eq!(state.gate(now), Gate::Until(now + PAUSE));
        state.probing();
        assert_eq!(state.ended(false, false, now), None);
        assert_eq!(state.gate(now), Gate::Wait, "only the probe closes it");
    }
}
