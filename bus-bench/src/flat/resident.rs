//! How much memory a client takes whose handler is stuck while much waits.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use bus::{Raw, Start};
use serde::Serialize;

use crate::load::Load;
use crate::ours::Ours;

/// How it is called.
pub(super) const NAME: &str = "a stuck handler";
/// How long the memory is looked at once nothing more is handed out.
const WATCHED: Duration = Duration::from_secs(10);
/// How often.
const STEP: Duration = Duration::from_millis(100);

/// Resident memory of this process, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Resident {
    /// Messages that wait.
    pub(crate) waiting: usize,
    /// Connected, before anything was published.
    pub(crate) idle: u64,
    /// The most of it while the handler is stuck.
    pub(crate) stalled: u64,
}

impl fmt::Display for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "{NAME} while {} messages wait: {:.0} MiB resident, {:.0} MiB of it before anything was published",
            self.waiting,
            mib(self.stalled),
            mib(self.idle)
        )
    }
}

/// Publishes `load`, and lets a worker with default settings begin with it whose handler never comes back.
///
/// # Errors
/// The bus failed, or nothing was handed over.
pub(super) async fn stalled(ours: &Ours, load: &Load) -> Result<Option<Resident>> {
    let Some(idle) = resident() else {
        return Ok(None);
    };
    ours.fill(load).await?;
    let (begun, mut beginning) = tokio::sync::mpsc::unbounded_channel();
    let running = ours
        .bus()
        .worker("bench")
        .pattern(&load.root)
        .start_at(Start::Earliest)
        .on(move |_: Raw| {
            // Whoever listens is there as long as this is.
            let _ = begun.send(());
            std::future::pending::<()>()
        })
        .start()
        .await?;
    ensure!(beginning.recv().await.is_some(), "nothing was handed over");
    let mut stalled = idle;
    for _ in 0..WATCHED.as_millis() / STEP.as_millis() {
        stalled = stalled.max(resident().unwrap_or(0));
        tokio::time::sleep(STEP).await;
    }
    running.shutdown(Duration::ZERO).await;
    Ok(Some(Resident {
        waiting: load.messages,
        idle,
        stalled,
    }))
}

/// `None` where the system does not tell.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}
