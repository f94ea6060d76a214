//! Programs of the workspace that need more than xtask itself, run by cargo.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Starts, stops or shows the brokers for local work.
pub fn brokers(arguments: &[String]) -> Result<()> {
    let program = "run --quiet -p integration-tests --features brokers --bin brokers --";
    cargo(program, arguments)
}

/// Runs faults on real brokers.
pub fn faults(arguments: &[String]) -> Result<()> {
    // The whole workspace and all features, as the steps that test: nothing is compiled once more.
    let program = "test --quiet --workspace --all-features --test faults --";
    cargo(program, arguments)
}

fn cargo(program: &str, arguments: &[String]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(program.split_whitespace())
        .args(arguments)
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}
