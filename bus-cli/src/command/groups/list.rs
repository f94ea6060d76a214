//! `bus groups list`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use bus::BusClient;
use clap::Args;
use console::Term;
use tokio::time::sleep;

use super::write;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::when;

/// Lists groups with their patterns, members and lag
///
/// States: active; paused, by `bus groups pause`; stalled: its oldest message waits for more than 5 minutes;
/// unattended: messages wait and there is no member; unused: neither.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bus groups list\n  bus groups list --watch\n  bus groups list --json | jq 'select(.lag > 1000)'"
)]
pub(crate) struct List {
    /// Again and again, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// How often
    #[arg(long, value_name = "DURATION", value_parser = when::duration, default_value = "2s", requires = "watch")]
    every: Duration,
}

impl List {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        let mut interrupt = Interrupt::listen()?;
        let term = Term::stdout();
        loop {
            let infos = bus.subscriptions().list().await?;
            if self.watch && term.is_term() && !output.is_json() {
                term.clear_screen()?;
            }
            write(output, &infos)?;
            if !self.watch {
                return Ok(ExitCode::SUCCESS);
            }
            tokio::select! {
                () = interrupt.wanted() => return Ok(ExitCode::SUCCESS),
                () = sleep(self.every) => {}
            }
        }
    }
}
