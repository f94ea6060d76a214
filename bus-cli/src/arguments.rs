//! What the command line says.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::command::{
    completions, dlq, doctor, groups, man, publish, replay, reply, request, subscribe, topics,
};

const AFTER_HELP: &str = "\
The bus is named by --url, BUS_URL, or `url` in the section [bus] of bus.toml. `bus doctor` shows what
is in force and where it came from. A bus at memory:// lives in one process only: nobody else sees what
is published there.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 wrong configuration or argument, 4 the broker is not
available, 5 not authenticated or not permitted, 6 not found, 130 interrupted.";

/// Publish, listen, and look after groups and dead letters: one command for memory, Redis, NATS and Kafka.
#[derive(Debug, Parser)]
#[command(name = "bus", version, after_help = AFTER_HELP, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection and output")]
pub(crate) struct Global {
    /// URL of the bus, such as redis://localhost:6379. Others on this machine can see it: keep passwords in
    /// BUS_URL, or in a file that `password_file` names
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Configuration file instead of bus.toml in the working directory
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Namespace, as the option `namespace` of a URL
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Any key of the configuration, such as redis.database=7
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
    /// Writes JSON, one value a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Pub(publish::Publish),
    Sub(subscribe::Subscribe),
    Request(request::Request),
    Reply(reply::Reply),
    /// Looks after dead letters: messages that a group gave up
    #[command(subcommand)]
    Dlq(dlq::Dlq),
    /// Looks after topics
    #[command(subcommand)]
    Topics(topics::Topics),
    /// Looks after groups: durable subscriptions, their lag and their members
    #[command(subcommand)]
    Groups(groups::Groups),
    Replay(replay::Replay),
    Doctor(doctor::Doctor),
    #[cfg(feature = "bench")]
    Bench(crate::command::bench::Bench),
    #[cfg(feature = "conformance")]
    Conformance(crate::command::conformance::Conformance),
    Completions(completions::Completions),
    Man(man::Man),
}

/// `NAME=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".into()),
    }
}
