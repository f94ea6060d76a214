//! Real brokers on demand: one small harness for tests, benchmarks and fault runs.
//!
//! A broker comes from the first of these that is there, and the harness says which it took and why:
//! an address in the environment, a container engine, or a local process whose program is on `PATH` or
//! is fetched once into `target/brokers/`.

mod container;
mod keeper;
mod kind;
mod local;
mod ports;
mod proxy;

use std::time::Duration;

use anyhow::{Result, bail};

pub use kind::Kind;
pub use local::LocalOptions;
pub use proxy::Proxy;

use container::Container;
use local::Local;

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
    /// A broker from the first source that is there.
    ///
    /// # Errors
    /// No source is there: one line says how to get one.
    pub async fn start(kind: Kind) -> Result<Self> {
        if let Some(url) = std::env::var(kind.url_variable())
            .ok()
            .filter(|url| !url.is_empty())
        {
            let why = format!("{} is set", kind.url_variable());
            return Ok(Self {
                kind,
                source: Source::Address(url),
                why,
            });
        }
        if let Some(engine) = container::engine() {
            let container = Container::start(kind).await?;
            let why = format!(
                "the container engine at {engine} runs {}",
                container.image()
            );
            return Ok(Self {
                kind,
                source: Source::Container(Box::new(container)),
                why,
            });
        }
        Self::local(kind, LocalOptions::default()).await
    }

    /// A broker in a container.
    ///
    /// # Errors
    /// There is no engine, or the image does not start.
    pub async fn container(kind: Kind) -> Result<Self> {
        let Some(engine) = container::engine() else {
            bail!("no container engine: set DOCKER_HOST or start one");
        };
        let container = Container::start(kind).await?;
        let why = format!(
            "the container engine at {engine} runs {}",
            container.image()
        );
        Ok(Self {
            kind,
            source: Source::Container(Box::new(container)),
            why,
        })
    }

    /// A broker in a process of its own, which can be killed, paused and restarted.
    ///
    /// # Errors
    /// The program is neither there nor can be fetched: one line says how to get it.
    pub async fn local(kind: Kind, options: LocalOptions) -> Result<Self> {
        let local = Local::start(kind, options).await?;
        let why = format!("{} runs as a local process", local.program());
        Ok(Self {
            kind,
            source: Source::Local(local),
            why,
        })
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
            Source::Container(container) => self.kind.url(container.port()),
            Source::Local(local) => self.kind.url(local.port()),
        }
    }

    /// Which source it came from, and why that one.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The process, when it can be killed, paused and restarted.
    #[must_use]
    pub fn process(&mut self) -> Option<&mut Local> {
        match &mut self.source {
            Source::Local(local) => Some(local),
            Source::Address(_) | Source::Container(_) => None,
        }
    }
}
