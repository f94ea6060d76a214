//! `bus man`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};

use crate::arguments::Arguments;
use crate::output::Output;

/// Writes the manual: one page, or all pages into a directory
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bus man | man -l -")]
pub(crate) struct Man {
    /// Writes a page for every command into this directory
    #[arg(long, value_name = "DIRECTORY")]
    into: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, output: &Output) -> Result<ExitCode> {
        let command = Arguments::command();
        match self.into {
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(command).render(&mut page)?;
                output.bytes(&page)?;
            }
            Some(directory) => clap_mangen::generate_to(command, &directory)
                .with_context(|| format!("cannot write into {}", directory.display()))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
