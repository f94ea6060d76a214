//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::service::Service;

/// Four services that sell things, on any transport.
///
/// The bus is where `--bus`, `BUS_URL` or `bus.toml` says.
#[derive(Debug, Parser)]
pub struct Arguments {
    /// URL of the bus, such as `redis://localhost`; other users of this machine can see it.
    #[arg(long, global = true, value_name = "URL")]
    pub bus: Option<String>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Takes orders and sees them through.
    Order(Place),
    /// Takes money and gives it back.
    Payment(Place),
    /// Puts goods aside, sends them, and knows the prices.
    Stock(Place),
    /// Sends a mail about each order.
    Mail(Place),
    /// All four in one process.
    All(Place),
    /// Asks whether a service answers.
    Ping { service: Service },
    /// Places orders and checks that goods, money and mails are right in the end.
    Check(Check),
}

/// Where a service keeps its state.
#[derive(Debug, Args)]
pub struct Place {
    /// Directory of the databases.
    #[arg(long, value_name = "DIRECTORY", default_value = "orders-data")]
    pub data: PathBuf,
}

#[derive(Debug, Args)]
pub struct Check {
    /// Orders a round.
    #[arg(long, default_value_t = 60)]
    pub orders: u64,
    #[arg(long, default_value_t = 1)]
    pub rounds: u32,
    /// Chooses the orders, and which service is killed when.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Kills a service in every round and starts it again.
    #[arg(long, conflicts_with = "running")]
    pub kill: bool,
    /// The services run already, somewhere: none is started.
    #[arg(long)]
    pub running: bool,
    /// Seconds that a round may take.
    #[arg(long, default_value_t = 60)]
    pub within: u64,
}
