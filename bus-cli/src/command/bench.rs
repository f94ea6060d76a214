//! `bus bench`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::arguments::Global;
use crate::connection;
use crate::output::Output;

/// Compares the bus with the raw client of its transport: both do the same work in turn, in one run
///
/// It fails when a message was lost or came twice. The bus runs in a namespace of its own. A server that may
/// be thrown away is best: most of what is stored is removed again, not all.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  bus bench --url redis://localhost --only 'many in flight' --payload 256 --plot ratios.svg"
)]
pub(crate) struct Bench {
    #[command(flatten)]
    arguments: bus_bench::Arguments,
}

impl Bench {
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Result<ExitCode> {
        let url = connection::config(global)?.url().clone();
        // It has a runtime of its own, with as many threads as it was told.
        let running = tokio::task::spawn_blocking(move || bus_bench::run(&url, &self.arguments));
        let report = running.await??;
        output.either(&report, &report.to_string())?;
        report.verify()?;
        Ok(ExitCode::SUCCESS)
    }
}
