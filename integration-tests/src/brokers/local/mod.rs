//! Brokers as local processes: killed, paused and restarted at will, on the same port and data.

mod install;
mod kafka;
mod nats;
mod redis;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{Kind, START_TIMEOUT, ports};

/// How a local broker is set up.
#[derive(Clone, Debug, Default)]
pub struct LocalOptions {
    /// Every confirmed write is on disk: `appendfsync always`, `sync_interval: always`.
    pub sync_always: bool,
    /// Lines added to the broker's configuration file, in its own syntax.
    pub extra: Vec<String>,
}

/// A broker as a local process.
#[derive(Debug)]
pub struct Local {
    kind: Kind,
    options: LocalOptions,
    port: u16,
    /// A second port, where the broker needs one.
    side_port: u16,
    data: TempDir,
    child: Option<Child>,
}

impl Local {
    pub(super) async fn start(kind: Kind, options: LocalOptions) -> Result<Self> {
        let root = target_directory().join("brokers").join("data");
        std::fs::create_dir_all(&root)
            .with_context(|| format!("cannot make {}", root.display()))?;
        let data = tempfile::Builder::new()
            .prefix(kind.name())
            .tempdir_in(&root)?;
        let mut local = Self {
            kind,
            options,
            port: ports::free()?,
            side_port: ports::free()?,
            data,
            child: None,
        };
        local.restart().await?;
        Ok(local)
    }

    /// The program that runs.
    #[must_use]
    pub fn program(&self) -> &'static str {
        match self.kind {
            Kind::Redis => redis::PROGRAM,
            Kind::Nats => nats::PROGRAM,
            Kind::Kafka => kafka::PROGRAM,
        }
    }

    /// The port that it listens on, the same after every restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it without warning (`kill -9`). What it had not written is lost, as in a crash of the process;
    /// what the kernel has, it keeps.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            bail!("{} does not run", self.kind)
        };
        child.kill().context("cannot kill the broker")?;
        child.wait().context("the broker did not end")?;
        Ok(())
    }

    /// Starts it on the same port and data, and waits until it answers.
    ///
    /// # Errors
    /// It does not answer in time; the tail of its log is in the error.
    pub async fn restart(&mut self) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        self.child = Some(match self.kind {
            Kind::Redis => redis::spawn(self, log)?,
            Kind::Nats => nats::spawn(self, log)?,
            Kind::Kafka => kafka::spawn(self, log)?,
        });
        self.wait_until_ready().await
    }

    /// Stops it from running without ending it (`SIGSTOP`).
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on (`SIGCONT`).
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let Some(child) = &self.child else {
            bail!("{} does not run", self.kind)
        };
        kill(Pid::from_raw(i32::try_from(child.id())?), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.kind))
    }

    fn log_path(&self) -> PathBuf {
        self.data.path().join("log")
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(status) = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().transpose())
            {
                bail!("{} ended with {}:\n{}", self.kind, status?, self.log_tail());
            }
            let ready = match TcpStream::connect(("127.0.0.1", self.port)).await {
                Err(_) => false,
                Ok(_) => match self.kind {
                    Kind::Redis => redis::answers(self.port).await,
                    Kind::Nats => nats::answers(self.port).await,
                    Kind::Kafka => self.log_tail().contains("Kafka Server started"),
                },
            };
            if ready {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} does not answer after {START_TIMEOUT:?}:\n{}",
                    self.kind,
                    self.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().rev().take(15).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already gone is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The workspace's `target` directory: the only place on disk that the harness writes to.
fn target_directory() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join("target"),
    }
}
