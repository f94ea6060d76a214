//! The wall clock of the bus.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// One moment on both clocks, taken once; the rest is counted from there, so that with tokio's paused
/// clock the same moment always has the same time, to the nanosecond.
static ANCHOR: OnceLock<(Instant, SystemTime)> = OnceLock::new();

/// By how many nanoseconds the system's clock was set since then.
static SET_BY: AtomicI64 = AtomicI64::new(0);

/// A clock that is further off than this was set, or was corrected for long.
const DRIFT: Duration = Duration::from_millis(20);

/// How long the clocks are not compared again: asking all of them costs three times as much.
const TRUSTED: Duration = Duration::from_millis(10);

/// When they are compared next, in nanoseconds since the anchor on tokio's clock.
static COMPARED_NEXT: AtomicI64 = AtomicI64::new(i64::MIN);

/// Virtual time is told from real time by being further off than this.
const VIRTUAL: Duration = Duration::from_millis(1);

/// The current wall-clock time, moved by as much as tokio's clock differs from the real one.
///
/// With tokio's paused clock, time that the test advances advances this one too, and nothing else does;
/// otherwise it follows [`SystemTime::now`] within 30 milliseconds and, unless that is set back, never
/// runs backwards.
#[must_use]
pub fn now() -> SystemTime {
    at(tokio::time::Instant::now())
}

/// The same for callers that have just asked tokio's clock.
///
/// ```
/// use bus_api::clock;
///
/// let now = tokio::time::Instant::now();
/// assert!(clock::at(now) <= clock::now());
/// ```
#[must_use]
pub fn at(now: tokio::time::Instant) -> SystemTime {
    let (anchor, wall) = *ANCHOR.get_or_init(|| (Instant::now(), SystemTime::now()));
    let now = now.into_std();
    let passed = signed(anchor, now);
    let set_by = SET_BY.load(Ordering::Relaxed);
    let time = moved(wall, passed.saturating_add(set_by));
    if (0..nanos(TRUSTED)).contains(&COMPARED_NEXT.load(Ordering::Relaxed).saturating_sub(passed)) {
        return time;
    }
    COMPARED_NEXT.store(passed.saturating_add(nanos(TRUSTED)), Ordering::Relaxed);
    let (real, system) = (Instant::now(), SystemTime::now());
    if signed(now, real).unsigned_abs() > nanos(VIRTUAL).unsigned_abs() {
        return time;
    }
    let off = between(time, system);
    if off.unsigned_abs() <= nanos(DRIFT).unsigned_abs() {
        return time;
    }
    SET_BY.store(between(moved(wall, passed), system), Ordering::Relaxed);
    system
}

fn nanos(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
}

fn signed(from: Instant, to: Instant) -> i64 {
    match to.checked_duration_since(from) {
        Some(ahead) => nanos(ahead),
        None => -nanos(from.duration_since(to)),
    }
}

fn between(from: SystemTime, to: SystemTime) -> i64 {
    match to.duration_since(from) {
        Ok(ahead) => nanos(ahead),
        Err(behind) => -nanos(behind.duration()),
    }
}

fn moved(time: SystemTime, by: i64) -> SystemTime {
    let length = Duration::from_nanos(by.unsigned_abs());
    let moved = if by < 0 {
        time.checked_sub(length)
    } else {
        time.checked_add(length)
    };
    moved.unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_stands_still_and_moves_exactly() {
        let before = now();
        for _ in 0..1000 {
            assert_eq!(now(), before);
        }
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(now(), before + Duration::from_secs(90));
    }

    #[test]
    fn it_follows_the_system_and_never_runs_backwards() {
        let mut last = now();
        for _ in 0..1000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
        let off = between(last, SystemTime::now());
        assert!(off.unsigned_abs() < 1_000_000_000, "{off}");
    }
}
