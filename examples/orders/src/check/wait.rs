//! Waiting for what must become true.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// How long it waits between two looks.
const REST: Duration = Duration::from_millis(50);

/// Looks until what it sees is good; says what it saw last when time is over.
///
/// A look that fails is no more than a look that saw nothing: the service that is asked may be dead.
pub async fn until<T: Debug, E: Debug, F>(
    deadline: Instant,
    what: &str,
    mut look: impl FnMut() -> F,
    good: impl Fn(&T) -> bool,
) -> Result<T>
where
    F: Future<Output = Result<T, E>>,
{
    loop {
        let seen = look().await;
        match seen {
            Ok(seen) if good(&seen) => return Ok(seen),
            seen if Instant::now() >= deadline => bail!("{what}: last seen {seen:?}"),
            _ => sleep(REST).await,
        }
    }
}
