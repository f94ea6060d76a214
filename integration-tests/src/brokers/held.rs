//! Brokers that outlive the command that started them, for local work.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::{Broker, Kind, START_TIMEOUT, Setup, directory, tail};

const BETWEEN: Duration = Duration::from_millis(50);
/// Starting includes fetching what is missing.
const UP_TIMEOUT: Duration = Duration::from_secs(600);

/// A broker that runs in a process of its own, which its file in `target/brokers/held/` names.
#[derive(Debug)]
pub struct Held {
    process: Pid,
    /// Where it listens.
    pub url: String,
    /// Which source it came from, and why that one.
    pub why: String,
}

impl Held {
    /// The one that runs, if any.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn find(kind: Kind) -> Result<Option<Self>> {
        let Ok(text) = std::fs::read_to_string(file(kind, "")?) else {
            return Ok(None);
        };
        let mut lines = text.lines();
        let mut line = || lines.next().unwrap_or_default().to_owned();
        let held = Self {
            process: Pid::from_raw(line().parse().context("the file of a held broker")?),
            url: line(),
            why: line(),
        };
        // The holder may have been killed, and its local broker with it.
        Ok(held.lives().then_some(held))
    }

    /// Starts one unless it runs already.
    ///
    /// # Errors
    /// It does not start; what it said is in the error.
    pub async fn up(kind: Kind) -> Result<Self> {
        if let Some(held) = Self::find(kind)? {
            return Ok(held);
        }
        let said = file(kind, ".log")?;
        let log = File::create(&said)?;
        // A session of its own keeps it from the signals of this terminal.
        let mut holder = Command::new("setsid")
            .arg(std::env::current_exe()?)
            .args(["hold", kind.name()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start setsid")?;
        let deadline = Instant::now() + UP_TIMEOUT;
        loop {
            if let Some(held) = Self::find(kind)? {
                return Ok(held);
            }
            if holder.try_wait()?.is_some() || Instant::now() > deadline {
                let said = std::fs::read(&said).unwrap_or_default();
                bail!("{kind} did not start: {}", tail(&said));
            }
            sleep(BETWEEN).await;
        }
    }

    /// Ends the one that runs and removes its data; returns whether there was one.
    ///
    /// # Errors
    /// It does not end.
    pub async fn down(kind: Kind) -> Result<bool> {
        let Some(held) = Self::find(kind)? else {
            return Ok(false);
        };
        kill(held.process, Signal::SIGHUP).context("cannot reach the process that holds it")?;
        let deadline = Instant::now() + START_TIMEOUT;
        while held.lives() {
            if Instant::now() > deadline {
                bail!("{kind} does not end; process {}", held.process);
            }
            sleep(BETWEEN).await;
        }
        Ok(true)
    }

    /// Runs one until [`down`](Self::down) ends it.
    ///
    /// # Errors
    /// It does not start.
    pub async fn hold(kind: Kind) -> Result<()> {
        // Not one of the signals at which the engine's library removes containers by itself.
        let mut end = signal(SignalKind::hangup())?;
        let broker = Broker::start(kind, Setup::synced()).await?;
        let (path, draft) = (file(kind, "")?, file(kind, ".new")?);
        let text = format!(
            "{}\n{}\n{}\n",
            std::process::id(),
            broker.url(),
            broker.why()
        );
        std::fs::write(&draft, text)?;
        std::fs::rename(&draft, &path)?;
        end.recv().await;
        drop(broker);
        std::fs::remove_file(path)?;
        Ok(())
    }

    fn lives(&self) -> bool {
        kill(self.process, None) != Err(Errno::ESRCH)
    }
}

fn file(kind: Kind, suffix: &str) -> Result<PathBuf> {
    let folder = directory().join("held");
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join(format!("{kind}{suffix}")))
}
