//! The services of a check: processes of their own; on a bus in memory, runtimes of their own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bus::Config;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::service::Service;

/// How long a service may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(30);

/// The services, and where they keep their state.
pub struct Crew {
    config: Option<Config>,
    url: Option<String>,
    data: Option<TempDir>,
    members: Vec<(Service, Life)>,
}

enum Life {
    Process(Child),
    /// Everything that the service does happens in this runtime, and dies with it.
    Runtime {
        runtime: Runtime,
        stop: oneshot::Sender<()>,
        run: JoinHandle<Result<()>>,
    },
}

impl Crew {
    /// Services that somebody else looks after.
    pub fn elsewhere() -> Self {
        Self {
            config: None,
            url: None,
            data: None,
            members: Vec::new(),
        }
    }

    /// Starts all of them; `url` is what was given on the command line.
    pub fn start(config: &Config, url: Option<&str>) -> Result<Self> {
        let data = TempDir::new()?;
        let mut crew = Self {
            config: Some(config.clone()),
            url: url.map(str::to_owned),
            members: Vec::new(),
            data: None,
        };
        for service in Service::ALL {
            let life = crew.spawn(config, data.path(), service)?;
            crew.members.push((service, life));
        }
        crew.data = Some(data);
        Ok(crew)
    }

    fn spawn(&self, config: &Config, data: &Path, service: Service) -> Result<Life> {
        if config.url().scheme() == "memory" {
            return in_runtime(config, data, service);
        }
        let mut command = Command::new(std::env::current_exe()?);
        if let Some(url) = &self.url {
            command.env("BUS_URL", url);
        }
        if let Some(namespace) = config.url().options().get("namespace") {
            command.env("BUS__BUS__NAMESPACE", namespace);
        }
        command.arg(service.name()).arg("--data").arg(data);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.kill_on_drop(true).spawn();
        Ok(Life::Process(child.with_context(|| {
            format!("cannot start {}", service.name())
        })?))
    }

    /// Ends the service as `kill -9` does, and starts it again.
    pub async fn kill(&mut self, service: Service) -> Result<()> {
        let (Some(config), Some(data)) = (self.config.clone(), &self.data) else {
            anyhow::bail!("the services belong to somebody else");
        };
        let at = self
            .members
            .iter()
            .position(|(member, _)| *member == service);
        let at = at.context("it does not run")?;
        match self.members.remove(at).1 {
            Life::Process(mut child) => child.kill().await?,
            Life::Runtime { runtime, .. } => {
                // It ends where it is; a transaction that is being written to disk is let through.
                spawn_blocking(move || runtime.shutdown_timeout(PATIENCE)).await?;
            }
        }
        let life = self.spawn(&config, data.path(), service)?;
        self.members.push((service, life));
        Ok(())
    }

    /// Ends all of them as an operator does.
    pub async fn stop(self) -> Result<()> {
        for (service, life) in self.members {
            let ended = tokio::time::timeout(PATIENCE, life.stop()).await;
            ended
                .with_context(|| format!("{} does not end", service.name()))?
                .with_context(|| format!("{} ended badly", service.name()))?;
        }
        Ok(())
    }
}

impl Life {
    async fn stop(self) -> Result<()> {
        match self {
            Self::Process(mut child) => {
                let id = child.id().context("it has ended by itself")?;
                let asked = Command::new("kill").arg(id.to_string()).status().await?;
                ensure!(asked.success(), "kill: {asked}");
                let ended = child.wait().await?;
                ensure!(ended.success(), "{ended}");
                Ok(())
            }
            Self::Runtime { runtime, stop, run } => {
                let _ = stop.send(());
                let ended = run.await?;
                spawn_blocking(move || runtime.shutdown_timeout(PATIENCE)).await?;
                ended
            }
        }
    }
}

fn in_runtime(config: &Config, data: &Path, service: Service) -> Result<Life> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (config, data) = (config.clone(), data.to_owned());
    let (stop, stopped) = oneshot::channel();
    let run = runtime.spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        service.run(&config, &data, stopped).await
    });
    Ok(Life::Runtime { runtime, stop, run })
}
