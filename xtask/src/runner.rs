//! Runs the steps of a plan and sums up.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::plan::Step;

/// Runs the steps whose name contains `filter`, all of them also after a failure, and prints a summary.
pub fn run(steps: &[Step], filter: Option<&str>, list: bool) -> Result<()> {
    let chosen: Vec<&Step> = steps
        .iter()
        .filter(|step| filter.is_none_or(|text| step.name.contains(text)))
        .collect();
    if chosen.is_empty() {
        let names = steps
            .iter()
            .map(|step| step.name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        bail!(
            "no step is called {:?}; there are: {names}",
            filter.unwrap_or_default()
        );
    }
    if list {
        for step in chosen {
            println!("{}: cargo {}", step.name, step.cargo);
        }
        return Ok(());
    }
    let outcomes = chosen
        .into_iter()
        .map(|step| {
            println!("\n==> {}: cargo {}", step.name, step.cargo);
            let begun = Instant::now();
            execute(step).map(|passed| (step.name.as_str(), passed, begun.elapsed()))
        })
        .collect::<Result<Vec<_>>>()?;
    sum_up(&outcomes)
}

fn execute(step: &Step) -> Result<bool> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(step.cargo.split_whitespace())
        .envs(step.environment.iter().copied())
        .status()
        .with_context(|| format!("cannot start cargo for the step {:?}", step.name))?;
    Ok(status.success())
}

fn sum_up(outcomes: &[(&str, bool, Duration)]) -> Result<()> {
    println!("\n{:<44} {:>8}  outcome", "step", "seconds");
    for (name, passed, took) in outcomes {
        println!(
            "{name:<44} {:>8.1}  {}",
            took.as_secs_f64(),
            if *passed { "ok" } else { "FAILED" }
        );
    }
    let failed = outcomes.iter().filter(|(_, passed, _)| !passed).count();
    println!(
        "\nsteps: {} passed, {failed} failed",
        outcomes.len() - failed
    );
    if failed > 0 {
        bail!("{failed} of {} steps failed", outcomes.len());
    }
    Ok(())
}
