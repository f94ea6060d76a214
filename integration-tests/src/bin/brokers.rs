//! Brokers that stay for local work: `cargo xtask brokers up|down|status`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use integration_tests::brokers::{Held, Kind};

/// Brokers that stay for local work.
#[derive(Parser)]
#[command(name = "cargo xtask brokers")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Starts them, and prints the variables that tests take them from.
    Up {
        /// `redis`, `nats`, `kafka`; all when none is named.
        kinds: Vec<Kind>,
    },
    /// Ends them and removes their data.
    Down {
        /// `redis`, `nats`, `kafka`; all when none is named.
        kinds: Vec<Kind>,
    },
    /// Shows which of them run.
    Status,
    /// Runs one until it is told to end; `up` starts this.
    #[command(hide = true)]
    Hold {
        /// Which one.
        kind: Kind,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().task).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done about an output that is closed.
            let _ = writeln!(std::io::stderr(), "brokers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(task: Task) -> Result<()> {
    let mut out = std::io::stdout();
    match task {
        Task::Up { kinds } => {
            for kind in all_unless(kinds) {
                let held = Held::up(kind).await?;
                writeln!(out, "# {kind}: {}", held.why)?;
                writeln!(out, "export {}={}", kind.url_variable(), held.url)?;
            }
        }
        Task::Down { kinds } => {
            for kind in all_unless(kinds) {
                let ended = Held::down(kind).await?;
                writeln!(
                    out,
                    "{kind}: {}",
                    if ended { "ended" } else { "did not run" }
                )?;
            }
        }
        Task::Status => {
            for kind in Kind::ALL {
                match Held::find(kind)? {
                    Some(held) => writeln!(out, "{kind}: {} ({})", held.url, held.why)?,
                    None => writeln!(out, "{kind}: does not run")?,
                }
            }
        }
        Task::Hold { kind } => Held::hold(kind).await?,
    }
    Ok(())
}

fn all_unless(kinds: Vec<Kind>) -> Vec<Kind> {
    if kinds.is_empty() {
        Kind::ALL.to_vec()
    } else {
        kinds
    }
}
