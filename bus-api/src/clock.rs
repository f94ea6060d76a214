//! The wall clock of the bus.

use std::time::SystemTime;

/// The current wall-clock time, moved by as much as tokio's clock differs from the real one.
///
/// With tokio's paused clock, time that the test advances advances this one too; otherwise it is
/// [`SystemTime::now`].
#[must_use]
pub fn now() -> SystemTime {
    let (virtual_now, real_now) = (
        tokio::time::Instant::now().into_std(),
        std::time::Instant::now(),
    );
    let wall = SystemTime::now();
    match virtual_now.checked_duration_since(real_now) {
        Some(ahead) => wall + ahead,
        None => wall - real_now.duration_since(virtual_now),
    }
}
