//! What to measure.

use std::fmt::Display;
use std::path::PathBuf;

use clap::Args;

/// What to measure, and where the results go.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Messages of a round; default 100,000 on memory, 20,000 on brokers. Work that waits for every message
    /// does a fifth of it, work on dead letters a tenth
    #[arg(long)]
    pub messages: Option<usize>,
    /// Rounds of each work; in each, all sides take turns
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Bytes of a payload; more than once for several sizes
    #[arg(long, value_name = "BYTES", default_values_t = [256, 4096])]
    pub payload: Vec<usize>,
    /// Only work whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Only the bus, without raw clients beside it: for profilers
    #[arg(long)]
    pub alone: bool,
    /// Instead of comparing: whether a message of the bus costs the same with thousands of topics, with hundreds of
    /// subscriptions and with a backlog fifty times as long, and what memory a client takes whose handler is stuck
    #[arg(long, conflicts_with_all = ["alone", "plot"])]
    pub flat: bool,
    /// Draws the ratios into this file, as SVG
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Threads of the runtime
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
}

impl Arguments {
    /// Whether work of this name is to be done.
    pub(crate) fn wants(&self, name: &impl Display) -> bool {
        let only = self.only.as_ref();
        only.is_none_or(|only| name.to_string().contains(only))
    }
}
