//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Sends real GitHub webhooks through the bus, consumes them as a deployment would, and checks every count.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Where the bus is.
    #[arg(long, value_name = "URL", default_value = "memory://")]
    pub bus: String,

    /// Webhooks to send, one `{"event", "action", "payload"}` a line; without it the 329 examples of GitHub.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,

    /// Sends everything this many times.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,

    /// Prints the counts as one JSON object, and nothing else.
    #[arg(long)]
    pub json: bool,
}
