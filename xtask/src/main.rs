//! The tasks of this repository; `cargo xtask --help` lists them.

mod budget;
mod compose;
mod plan;
mod runner;
mod tool;

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
        /// Only the steps whose name contains this text, such as `memory`, `redis` or `lints`.
        filter: Option<String>,
        /// Lists the steps and runs none.
        #[arg(long)]
        list: bool,
    },
    /// Brokers for local work: `up`, `down` or `status`, with the names of some or none for all.
    Brokers {
        /// What the program `brokers` of `integration-tests` takes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Kills, pauses and cuts real brokers under load: `faults [transport] [--rounds N] [--seed S]`.
    Faults {
        /// What the test program `faults` of `integration-tests` takes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs the example services as containers on `redis`, `nats` or `kafka`; on Redis unless told.
    Compose {
        /// The brokers, one after the other.
        brokers: Vec<compose::Broker>,
    },
    /// Checks that the `memory` build stays small and needs no C compiler.
    Budget,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Test { filter, list } => runner::run(&plan::steps(), filter.as_deref(), list),
        Task::Brokers { arguments } => tool::brokers(&arguments),
        Task::Faults { arguments } => tool::faults(&arguments),
        Task::Compose { brokers } => compose::run(&brokers),
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
