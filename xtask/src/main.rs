//! The tasks of this repository; `cargo xtask --help` lists them.

mod budget;
mod plan;
mod runner;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The tasks of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks everything: format, lints, docs, unit, doc, compile-fail and conformance tests, examples.
    Test {
        /// Only the steps whose name contains this text.
        filter: Option<String>,
        /// Lists the steps and runs none.
        #[arg(long)]
        list: bool,
    },
    /// Checks that the `memory` build stays small and needs no C compiler.
    Budget,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Test { filter, list } => runner::run(&plan::steps(), filter.as_deref(), list),
        Task::Budget => budget::check(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
