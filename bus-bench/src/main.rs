//! Compares the bus with the raw client of its transport.

use std::io::Write;

use anyhow::Result;
use bus::BusUrl;
use bus_bench::Arguments;
use clap::Parser;

/// Compares the bus with the raw client of its transport: both do the same work in turn, in one run.
#[derive(Debug, Parser)]
#[command(name = "bus-bench", version)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
    /// URL of the bus, such as redis://localhost:6379. A server that may be thrown away is best: most of
    /// what the benchmark stores is removed again, not all
    #[arg(long, default_value = "memory://", env = "BUS_URL")]
    bus: BusUrl,
    /// Prints JSON instead of a table
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    let command = Command::parse();
    let report = bus_bench::run(&command.bus, &command.arguments)?;
    let text = if command.json {
        serde_json::to_string_pretty(&report)?
    } else {
        report.to_string()
    };
    writeln!(std::io::stdout(), "{text}")?;
    report.verify()
}
