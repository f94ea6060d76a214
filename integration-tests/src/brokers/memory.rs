//! What processes take of the machine's memory.

use anyhow::{Context, Result};

/// The bytes of a process that are in memory.
///
/// # Errors
/// There is no such process, or this is not Linux.
pub fn resident(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("no VmRSS")?.parse()?;
    Ok(kib << 10)
}
