//! `bus completions`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::output::Output;

/// Writes completions for a shell
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  bus completions bash > ~/.local/share/bash-completion/completions/bus"
)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, output: &Output) -> Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "bus", &mut script);
        output.bytes(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}
