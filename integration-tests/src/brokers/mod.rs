//! Real brokers on demand: one small harness for tests, benchmarks and fault runs.
//!
//! A broker comes from the first of these that is there, and the harness says which it took and why:
//! an address in the environment (`BUS_TEST_REDIS_URL`), a container engine, or a local process whose
//! program is on `PATH` or is fetched once into `target/brokers/`. `BUS_TEST_BROKERS` chooses between the
//! last two.

mod choice;
mod cluster;
mod container;
mod held;
pub(crate) mod keeper;
mod kind;
mod local;
mod memory;
mod ports;
mod probe;
mod proxy;
mod setup;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use cluster::Cluster;
pub use held::Held;
pub use kind::Kind;
pub use local::{kafka_tool, kcat};
pub use memory::resident;
pub use ports::free as free_port;
pub use proxy::Proxy;
pub use setup::Setup;

use choice::Choice;
use container::Container;
use local::{Local, Ports};

/// How long a broker may take to answer after it was started.
pub const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running broker. Dropping it ends what the harness started; nothing is left running.
#[derive(Debug)]
pub struct Broker {
    kind: Kind,
    source: Source,
    why: String,
}

#[derive(Debug)]
enum Source {
    Address(String),
    Container(Box<Container>),
    Local(Local),
}

impl Broker {
    /// A broker from the first source that is there, or from the one that `BUS_TEST_BROKERS` chooses.
    ///
    /// # Errors
    /// No source is there: one line says how to get one.
    pub async fn start(kind: Kind, setup: Setup) -> Result<Self> {
        if let Some(url) = std::env::var(kind.url_variable())
            .ok()
            .filter(|url| !url.is_empty())
        {
            return Ok(Self::of(kind, Source::Address(url)));
        }
        let missing = match Choice::of_environment()? {
            Some(Choice::Containers) => return Self::container(kind, &setup).await,
            Some(Choice::Local) => return Self::local(kind, setup).await,
            None if !Self::has_container_engine() => "there is no container engine".to_owned(),
            // An engine without a way to its registry is as good as none, where the program is at hand.
            None => match Self::container(kind, &setup).await {
                Ok(broker) => return Ok(broker),
                Err(error) => format!("the container engine has none: {error:#}"),
            },
        };
        let mut broker = Self::local(kind, setup)
            .await
            .with_context(|| missing.clone())?;
        broker.why += &format!(", because {missing}");
        Ok(broker)
    }

    /// A broker in a container.
    ///
    /// # Errors
    /// There is no engine, or the image does not start.
    pub async fn container(kind: Kind, setup: &Setup) -> Result<Self> {
        let Some(engine) = container::engine() else {
            bail!("no container engine: set DOCKER_HOST or start one");
        };
        let container = Container::start(kind, engine, setup).await?;
        Ok(Self::of(kind, Source::Container(Box::new(container))))
    }

    /// Whether there seems to be a container engine.
    #[must_use]
    pub fn has_container_engine() -> bool {
        container::engine().is_some()
    }

    /// A broker in a process of its own.
    ///
    /// # Errors
    /// The program is neither there nor can be fetched: one line says how to get it.
    pub async fn local(kind: Kind, setup: Setup) -> Result<Self> {
        let ports = Ports {
            main: ports::free()?,
            side: ports::free()?,
        };
        let local = Local::start_at(kind, setup, ports).await?;
        Ok(Self::of(kind, Source::Local(local)))
    }

    fn of(kind: Kind, source: Source) -> Self {
        let why = match &source {
            Source::Address(_) => format!("{} is set", kind.url_variable()),
            Source::Container(container) => container.why(),
            Source::Local(local) => format!("{} runs as a local process", local.program()),
        };
        Self { kind, source, why }
    }

    /// Which broker it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its URL, without options.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.source {
            Source::Address(url) => url.clone(),
            Source::Container(_) | Source::Local(_) => self.kind.url(&self.address()),
        }
    }

    /// Host and port.
    fn address(&self) -> String {
        match &self.source {
            Source::Address(url) => url
                .split_once("://")
                .map_or_else(String::new, |(_, address)| address.to_owned()),
            Source::Container(container) => container.address(),
            Source::Local(local) => local.address(),
        }
    }

    /// Which source it came from, and why that one.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Whether it can be killed, restarted and paused: not when only its address is known.
    #[must_use]
    pub fn is_controlled(&self) -> bool {
        !matches!(self.source, Source::Address(_))
    }

    /// The memory that it takes, in bytes; none when it is no local process that runs.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn memory(&self) -> Result<Option<u64>> {
        match &self.source {
            Source::Local(local) => local.process().map(resident).transpose(),
            Source::Address(_) | Source::Container(_) => Ok(None),
        }
    }

    /// Ends it without warning (`kill -9`). What it had not written is lost, as in a crash of the process;
    /// what the kernel has, it keeps.
    ///
    /// # Errors
    /// It does not run, or is not controlled.
    pub async fn kill(&mut self) -> Result<()> {
        match &mut self.source {
            Source::Address(_) => self.not_ours(),
            Source::Container(container) => container.kill().await,
            Source::Local(local) => local.kill(),
        }
    }

    /// Starts it again on the same port and data, and waits until it answers.
    ///
    /// # Errors
    /// It does not answer in time, or is not controlled; the tail of its log is in the error.
    pub async fn restart(&mut self) -> Result<()> {
        match &mut self.source {
            Source::Address(_) => self.not_ours(),
            Source::Container(container) => container.restart().await,
            Source::Local(local) => local.restart().await,
        }
    }

    /// Stops it from running without ending it: connections stay open, and nothing answers.
    ///
    /// # Errors
    /// It does not run, or is not controlled.
    pub async fn pause(&mut self) -> Result<()> {
        match &mut self.source {
            Source::Address(_) => self.not_ours(),
            Source::Container(container) => container.pause().await,
            Source::Local(local) => local.pause(),
        }
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Errors
    /// It does not run, or is not controlled.
    pub async fn resume(&mut self) -> Result<()> {
        match &mut self.source {
            Source::Address(_) => self.not_ours(),
            Source::Container(container) => container.resume().await,
            Source::Local(local) => local.resume(),
        }
    }

    fn not_ours(&self) -> Result<()> {
        bail!(
            "this {} was started by somebody else: {}",
            self.kind,
            self.why
        )
    }
}

/// Ends what still runs although nobody needs it any more, before the process ends: local processes end
/// with it anyhow, containers do not.
///
/// # Errors
/// The container engine does not answer.
pub async fn end_all() -> Result<()> {
    container::remove_all().await
}

/// `target/brokers/`: the only place on disk that the harness writes to.
fn directory() -> PathBuf {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join("target"),
    };
    target.join("brokers")
}

/// The last lines of a log.
fn tail(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text.lines().rev().take(15).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
