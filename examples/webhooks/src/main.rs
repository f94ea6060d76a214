//! Real GitHub webhooks through the whole bus, with one command.
//!
//! Read `run.rs` first: it is the story. Then `publish.rs`, and one file for each consumer: `audit.rs` (broadcast),
//! `ci.rs` (ordered group), `notify.rs` (retries and dead letters), `repository_info.rs` (request and reply).

mod audit;
mod checks;
mod ci;
mod cli;
mod connect;
mod crew;
mod dead_letters;
mod events;
mod input;
mod notify;
mod plan;
mod progress;
mod publish;
mod questions;
mod report;
mod repository_info;
mod run;
mod screen;
mod show;
mod table;
mod tally;
mod wait;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::cli::Arguments;
use crate::screen::Screen;

/// A count was wrong.
const WRONG: u8 = 1;
/// The run could not be made.
const FAILED: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(WRONG),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

async fn start(arguments: &Arguments) -> Result<bool> {
    let input = input::read(arguments.input.as_deref())?;
    for skipped in &input.skipped {
        eprintln!("skipped line {}: {}", skipped.line, skipped.reason);
    }
    let screen = Screen::new(arguments.json);
    let report = run::run(&arguments.bus, input, arguments.repeat, screen).await?;
    show::report(screen, &report);
    if arguments.json {
        Screen::new(false).line(&serde_json::to_string_pretty(&report)?);
    }
    Ok(report.right)
}
