//! Waiting for conditions, on the clock that the runtime has.

use std::fmt::Display;
use std::future::{Future, IntoFuture};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::outcome::Violation;

/// How long a case waits for something that has to come. It covers what the contract grants to the
/// slowest transport (T3: 10 s) on a busy machine; nothing waits for it when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long a case listens for something that must not come. A wrong implementation that is slower than
/// this is caught by the counts of a later step or of another run, not by this silence alone.
pub(crate) const QUIET: Duration = Duration::from_millis(400);

/// Milliseconds.
pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Seconds.
pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Lets the broker's clock tell the messages before from the messages after: this is what is tested, not
/// a wait for something to happen.
pub(crate) async fn let_the_clock_tick() {
    sleep(ms(60)).await;
}

/// The output of `future`, which has to come within `limit`.
#[track_caller]
pub(crate) fn within<T>(
    limit: Duration,
    what: impl Display,
    future: impl IntoFuture<Output = T>,
) -> impl Future<Output = Result<T, Violation>> {
    let late = Violation::new(format_args!("{what}: not within {limit:?}"));
    let future = future.into_future();
    async move { timeout(limit, future).await.map_err(|_| late) }
}

/// Waits until `check` holds, at most [`PATIENCE`].
#[track_caller]
pub(crate) fn eventually(
    what: impl Display,
    mut check: impl AsyncFnMut() -> Result<bool, Violation>,
) -> impl Future<Output = Result<(), Violation>> {
    let late = Violation::new(format_args!("{what}: not within {PATIENCE:?}"));
    async move {
        let deadline = Instant::now() + PATIENCE;
        while !check().await? {
            if Instant::now() >= deadline {
                return Err(late);
            }
            sleep(ms(20)).await;
        }
        Ok(())
    }
}
