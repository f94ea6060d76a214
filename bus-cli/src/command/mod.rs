//! The commands, one file each.

#[cfg(feature = "bench")]
pub(crate) mod bench;
pub(crate) mod completions;
#[cfg(feature = "conformance")]
pub(crate) mod conformance;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod groups;
pub(crate) mod man;
pub(crate) mod publish;
pub(crate) mod replay;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod subscribe;
pub(crate) mod topics;

use std::process::ExitCode;

use anyhow::Result;

use crate::arguments::{Arguments, Command};
use crate::connection;
use crate::output::Output;

/// Does what the command line says.
pub(crate) async fn run(arguments: Arguments, output: &Output) -> Result<ExitCode> {
    let global = arguments.global;
    match arguments.command {
        Command::Completions(command) => return command.run(output),
        Command::Man(command) => return command.run(output),
        Command::Doctor(command) => return command.run(&global, output).await,
        #[cfg(feature = "bench")]
        Command::Bench(command) => return command.run(&global, output).await,
        #[cfg(feature = "conformance")]
        Command::Conformance(command) => return command.run(&global, output).await,
        _ => {}
    }
    let bus = connection::connect(&global, output).await?;
    let code = match arguments.command {
        Command::Pub(command) => command.run(&bus, output).await,
        Command::Sub(command) => command.run(&bus, output).await,
        Command::Request(command) => command.run(&bus, output).await,
        Command::Reply(command) => command.run(&bus, output).await,
        Command::Dlq(command) => command.run(&bus, output).await,
        Command::Topics(command) => command.run(&bus, output).await,
        Command::Groups(command) => command.run(&bus, output).await,
        Command::Replay(command) => command.run(&bus, output).await,
        // Those that need no connection have returned.
        _ => Ok(ExitCode::SUCCESS),
    };
    let closed = bus.close().await;
    let code = code?;
    closed?;
    Ok(code)
}
