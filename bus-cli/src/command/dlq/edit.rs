//! `bus dlq edit`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use bus::{BusClient, DeadEntry, DeadLetterId};
use clap::Args;
use serde_json::json;
use tokio::process::Command;

use super::show::existing;
use crate::output::Output;
use crate::payload::is_json;

/// Redrives one dead letter with another payload
///
/// Without --payload and --file it opens the payload in the editor that EDITOR names.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bus dlq edit mail 0f3a… --payload '{\"id\": 7, \"total\": 1}'")]
pub(crate) struct Edit {
    /// The group
    group: String,
    /// The id, as `bus dlq list` shows it
    id: DeadLetterId,
    /// The new payload
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    payload: Option<String>,
    /// The new payload from a file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only checks and shows what would be redriven
    #[arg(long)]
    dry_run: bool,
}

impl Edit {
    pub(crate) async fn run(self, bus: &BusClient, output: &Output) -> Result<ExitCode> {
        let dead = bus.dead_letters(&self.group);
        let entry = existing(&dead, self.id).await?;
        let payload = match (self.payload, self.file) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(path)) => read(&path)?,
            (None, None) => in_editor(&entry).await?,
        };
        if is_json(&entry.message.payload) && !is_json(&payload) {
            bail!("the payload was JSON and the new one is none: nothing was done");
        }
        let id = self.id.to_string();
        if self.dry_run {
            let text = format!("{id} would be redriven with {} bytes", payload.len());
            output.either(
                &json!({"id": id, "bytes": payload.len(), "dry_run": true}),
                &text,
            )?;
            return Ok(ExitCode::SUCCESS);
        }
        dead.redrive_edited(self.id, payload).await?;
        output.either(&json!({ "redriven": id }), &format!("{id} redriven"))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Lets the user change the payload.
async fn in_editor(entry: &DeadEntry) -> Result<Vec<u8>> {
    ensure!(
        std::io::stdin().is_terminal(),
        "no terminal for an editor: give the payload with --payload or --file"
    );
    let editor = std::env::var("EDITOR").unwrap_or_else(|_| "vi".into());
    // Only this user may read it: it is a payload.
    let mut file = tempfile::Builder::new().suffix(".payload").tempfile()?;
    file.write_all(&entry.message.payload)?;
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(file.path())
        .status()
        .await
        .with_context(|| format!("cannot start {editor}"))?;
    ensure!(
        status.success(),
        "the editor ended with {status}: nothing was done"
    );
    let payload = read(file.path())?;
    ensure!(
        payload != entry.message.payload,
        "the payload is unchanged: nothing was done"
    );
    Ok(payload)
}
