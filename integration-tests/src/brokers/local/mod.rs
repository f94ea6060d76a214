//! Brokers as local processes: killed, paused and restarted at will, on the same port and data.

mod archive;
mod install;
mod kafka;
mod nats;
mod redis;

use std::fs::File;
use std::path::PathBuf;
use std::process::Child;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{Kind, START_TIMEOUT, Setup, directory, probe};

pub(super) use kafka::settings as kafka_settings;
pub use kafka::{kcat, tool as kafka_tool};
pub(super) use nats::configuration as nats_configuration;

/// A broker as a local process.
#[derive(Debug)]
pub(super) struct Local {
    kind: Kind,
    setup: Setup,
    ports: Ports,
    data: TempDir,
    child: Option<Child>,
}

/// Names the folder in which local brokers keep their data: a disk that syncs slowly slows them down.
const DATA: &str = "BUS_TEST_DATA";

/// Where it listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) main: u16,
    /// A second one, where the broker needs it.
    pub(super) side: u16,
}

impl Local {
    pub(super) async fn start_at(kind: Kind, setup: Setup, ports: Ports) -> Result<Self> {
        let root = match std::env::var_os(DATA) {
            Some(path) => PathBuf::from(path),
            None => directory().join("data"),
        };
        std::fs::create_dir_all(&root)
            .with_context(|| format!("cannot make {}", root.display()))?;
        let data = tempfile::Builder::new()
            .prefix(kind.name())
            .tempdir_in(&root)?;
        let mut local = Self {
            kind,
            setup,
            ports,
            data,
            child: None,
        };
        local.restart().await?;
        Ok(local)
    }

    /// The program that runs.
    pub(super) fn program(&self) -> &'static str {
        match self.kind {
            Kind::Redis => redis::PROGRAM,
            Kind::Nats => nats::PROGRAM,
            Kind::Kafka => kafka::PROGRAM,
        }
    }

    /// Host and port, the same after every restart.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.main)
    }

    /// Its process, while it runs.
    pub(super) fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            bail!("{} does not run", self.kind)
        };
        child.kill().context("cannot kill the broker")?;
        child.wait().context("the broker did not end")?;
        Ok(())
    }

    pub(super) async fn restart(&mut self) -> Result<()> {
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

    pub(super) fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    pub(super) fn resume(&self) -> Result<()> {
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
        let (kind, address) = (self.kind, self.address());
        let deadline = Instant::now() + START_TIMEOUT;
        let mut ended = None;
        let child = self.child.as_mut();
        let child = child.with_context(|| format!("{kind} does not run"))?;
        let gone = || {
            ended = child.try_wait().ok().flatten();
            ended.is_some()
        };
        if probe::answers_by(kind, &address, deadline, gone).await {
            return Ok(());
        }
        let log = super::tail(&std::fs::read(self.log_path()).unwrap_or_default());
        match ended {
            Some(status) => bail!("{kind} ended with {status}:\n{log}"),
            None => bail!("{kind} does not answer after {START_TIMEOUT:?}:\n{log}"),
        }
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
