//! `bus doctor`.

mod effective;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use bus::{BusClient, Capabilities, Health, HealthStatus};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::effective::{Effective, effective};
use super::groups;
use crate::arguments::Global;
use crate::connection;
use crate::exit::FAILED;
use crate::output::Output;

/// Connects, verifies, and shows what is in force, where it came from, and what is not protected
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  bus doctor\n  bus doctor --strict --json")]
pub(crate) struct Doctor {
    /// Also fails when something works with a limitation
    #[arg(long)]
    strict: bool,
}

impl Doctor {
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Result<ExitCode> {
        let config = connection::config(global)?;
        let url = config.url().to_string();
        let url = url.split('?').next().unwrap_or_default();
        if !output.is_json() {
            output.line(&format!("configuration of {url}"))?;
            let rows: Vec<_> = effective(&config).into_iter().map(Effective::row).collect();
            output.table(&["key", "value", "from"], &rows)?;
            output.line("")?;
        }
        let begun = Instant::now();
        let bus = connection::open(&config).await?;
        let took = begun.elapsed();
        let health = bus.health().await;
        if output.is_json() {
            let values: Vec<_> = effective(&config)
                .into_iter()
                .map(Effective::value)
                .collect();
            output.json(&value(url, &values, &bus, &health, took))?;
        } else {
            write(output, &bus, &health, took)?;
        }
        bus.close().await?;
        Ok(match health.status {
            HealthStatus::Up => ExitCode::SUCCESS,
            HealthStatus::Degraded if !self.strict => ExitCode::SUCCESS,
            HealthStatus::Degraded | HealthStatus::Down => ExitCode::from(FAILED),
        })
    }
}

fn value(url: &str, values: &[Value], bus: &BusClient, health: &Health, took: Duration) -> Value {
    let capabilities = capabilities(bus.capabilities());
    json!({
        "url": url,
        "configuration": values,
        "connected_in_ms": took.as_millis(),
        "status": health.status.to_string(),
        "connected": health.connected,
        "writable": health.writable,
        "problems": health.problems,
        "unprotected": health.unprotected,
        "notices": health.notices,
        "details": health.details,
        "capabilities": capabilities.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "subscriptions": health.subscriptions.len(),
    })
}

fn write(output: &Output, bus: &BusClient, health: &Health, took: Duration) -> Result<()> {
    let yes = |is: bool| if is { "yes" } else { "NO" };
    output.line(&format!(
        "{} is {}: connected {} (in {} ms), takes messages {}",
        bus.adapter().name(),
        health.status,
        yes(health.connected),
        took.as_millis(),
        yes(health.writable),
    ))?;
    for (head, lines) in [
        ("problems", &health.problems),
        ("not protected", &health.unprotected),
        ("notices", &health.notices),
    ] {
        if !lines.is_empty() {
            output.line(&format!("\n{head}"))?;
            for line in lines {
                output.line(&format!("  - {line}"))?;
            }
        }
    }
    output.line("\nbroker")?;
    for (name, value) in &health.details {
        output.line(&format!("  {name}: {value}"))?;
    }
    output.line("\nguarantees that depend on the transport")?;
    for (name, value) in capabilities(bus.capabilities()) {
        output.line(&format!("  {name}: {value}"))?;
    }
    if !health.subscriptions.is_empty() {
        output.line("")?;
        groups::write(output, &health.subscriptions)?;
    }
    Ok(())
}

fn capabilities(known: &Capabilities) -> Vec<(&'static str, String)> {
    vec![
        ("dedup", known.dedup.to_string()),
        (
            "ack_durability",
            format!("{:?}", known.ack_durability).to_lowercase(),
        ),
        ("exact_attempts", known.exact_attempts.to_string()),
        (
            "immediate_no_responders",
            known.immediate_no_responders.to_string(),
        ),
        ("reject_when_full", known.reject_when_full.to_string()),
        (
            "ordered_members",
            format!("{:?}", known.ordered_members).to_lowercase(),
        ),
        ("min_lease", format!("{:?}", known.min_lease)),
        ("max_payload", format!("{} bytes", known.max_payload)),
    ]
}
