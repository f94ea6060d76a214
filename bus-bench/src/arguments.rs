//! What to measure.

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
    /// Draws the ratios into this file, as SVG
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Threads of the runtime
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
}
