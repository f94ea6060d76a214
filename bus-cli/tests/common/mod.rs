//! Runs the command as a shell does.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Longer than any command takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of its own, and perhaps a bus.
pub(crate) struct Place {
    directory: TempDir,
    url: Option<String>,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    /// Commands run here; `url` is their `BUS_URL`.
    pub(crate) fn new(url: Option<String>) -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            url,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A command of `bus` that sees nothing of this process's configuration.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bus"));
        command.args(arguments);
        self.prepare(&mut command);
        command
    }

    pub(crate) fn prepare(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BUS_") {
                command.env_remove(name);
            }
        }
        if let Some(url) = &self.url {
            command.env("BUS_URL", url);
        }
        command
            .current_dir(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
    }

    /// Runs it to its end.
    pub(crate) async fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Done {
        self.feed(arguments, "").await
    }

    /// The same with an input.
    pub(crate) async fn feed<S: AsRef<OsStr>>(&self, arguments: &[S], input: &str) -> Done {
        finish(self.command(arguments), input).await
    }

    /// Runs it, and it succeeds; what it wrote.
    pub(crate) async fn ok<S: AsRef<OsStr>>(&self, arguments: &[S]) -> String {
        let done = self.run(arguments).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        done.out
    }
}

/// Runs a command to its end.
pub(crate) async fn finish(command: Command, input: &str) -> Done {
    finish_within(command, input, PATIENCE).await
}

/// Runs a command to its end, which comes within `limit`.
pub(crate) async fn finish_within(mut command: Command, input: &str, limit: Duration) -> Done {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It need not read its input.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = timeout(limit, child.wait_with_output()).await;
    let output = output.expect("it ends in time").unwrap();
    Done {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
