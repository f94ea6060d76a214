//! Waiting for a point in time that there may not be.

use std::future::pending;

use tokio::time::{Instant, sleep_until};

/// Waits until then; for ever when there is no such time. For a branch of a `select`.
///
/// # Cancel safety
/// Dropping the future loses nothing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use bus_api::adapter::until;
/// use tokio::time::Instant;
///
/// tokio::select! {
///     () = until(None) => unreachable!("it never comes"),
///     () = until(Some(Instant::now())) => {}
/// }
/// # }
/// ```
pub async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
