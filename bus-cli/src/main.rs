//! The `bus` command.

mod arguments;
mod command;
mod confirm;
mod connection;
mod exit;
mod filter;
mod interrupt;
mod output;
mod payload;
mod progress;
mod show;
mod verbatim;
mod when;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;
use crate::output::Output;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.global.json);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&error.into(), &output),
    };
    let code = runtime
        .block_on(command::run(arguments, &output))
        .unwrap_or_else(|error| exit::report(&error, &output));
    // A read of standard input cannot be cancelled, and nobody waits for it any more.
    runtime.shutdown_background();
    code
}
