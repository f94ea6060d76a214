//! Waiting for counts.

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

/// How often to look.
const LOOK: Duration = Duration::from_millis(5);
/// After so long without any change, whatever is missing is lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `count` is at least `expected`, as long as it moves.
pub async fn until(expected: u64, mut count: impl AsyncFnMut() -> Result<u64>) -> Result<()> {
    let mut last = (0, Instant::now());
    loop {
        let now = count().await?;
        if now >= expected || (now == last.0 && last.1.elapsed() > PATIENCE) {
            return Ok(());
        }
        if now != last.0 {
            last = (now, Instant::now());
        }
        tokio::time::sleep(LOOK).await;
    }
}
