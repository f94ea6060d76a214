//! `bus dlq export`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bus::BusClient;
use clap::Args;
use serde_json::json;

use crate::filter::Selection;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::{exit, progress};

/// Writes dead letters with their payloads as JSON lines
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bus dlq export mail --output mail.ndjson")]
pub(crate) struct Export {
    /// The group
    group: String,
    #[command(flatten)]
    selection: Selection,
    /// Into this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Entries read at once.
const PAGE: usize = 500;

impl Export {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        let interrupt = Interrupt::listen()?;
        let (dead, filter) = (bus.dead_letters(&self.group), self.selection.filter());
        let mut file = match &self.output {
            Some(path) => Some(
                std::fs::File::create(path)
                    .with_context(|| format!("cannot write {}", path.display()))?,
            ),
            None => None,
        };
        let total = dead.count(&filter).await?;
        let bar = progress::start(output, "exported", Some(total));
        let (mut cursor, mut count) = (None, 0_u64);
        loop {
            let page = dead.page(&filter, cursor.as_ref(), PAGE).await?;
            for entry in &page.entries {
                let line = serde_json::to_string(&entry.export())?;
                match &mut file {
                    Some(file) => writeln!(file, "{line}").context("cannot write the file")?,
                    None => output.line(&line)?,
                }
                count += 1;
            }
            bar.set_position(count);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
            if interrupt.is_wanted() {
                return Ok(ExitCode::from(exit::INTERRUPTED));
            }
        }
        bar.finish_and_clear();
        if let Some(path) = &self.output {
            let text = format!("{count} written to {}", path.display());
            output.either(&json!({ "exported": count }), &text)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
