//! Configuration from a file, the environment, a URL and code.

mod known;
mod layer;
mod loader;
mod secrets;
mod source;

use std::collections::BTreeMap;
use std::fmt;

use bus_api::{BusClient, BusUrl, Result, WorkerOptions};

pub use self::loader::ConfigLoader;
use crate::Connector;

/// Where a bus is and how it is used, merged of `bus.toml`, the environment, a URL and code.
///
/// The later wins: the defaults, the file, the environment (`BUS_URL`, and `BUS__SECTION__KEY` for a key of
/// a section), a URL that is [given](ConfigLoader::url), and what is [set](ConfigLoader::set) in code. The
/// query of a URL counts as much as the place that the URL comes from; the options of a URL that another
/// one replaces are gone with it.
///
/// ```toml
/// [bus]
/// url = "redis://localhost:6379"
/// namespace = "shop"
///
/// [bus.retention]
/// mode = "settled"
/// age = "1d"
///
/// [redis]                            # only for URLs of Redis: redis://, rediss://, unix://, …
/// user = "shop"
/// password_file = "/run/secrets/redis"
///
/// [workers.mail]                     # wins over what the code of the worker "mail" says
/// concurrency = 8
/// timeout = "10s"
/// retry = { attempts = 8, base = "1s", cap = "1m" }
/// ```
///
/// `[bus]` takes `url` and the options that every transport has ([`Settings::KEYS`](crate::Settings::KEYS)),
/// `[memory]`, `[redis]`, `[nats]` and `[kafka]` those of the transport, with `user`, `password` and
/// `password_file` (`token_file` where there is a `token`). All sections are checked, also those of other
/// transports than the URL's; of a transport that was not compiled in only the form.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> bus::Result<()> {
/// use bus::Config;
///
/// let config = Config::loader()
///     .without_file()
///     .environment([("BUS_URL", "memory://"), ("BUS__BUS__NAMESPACE", "shop")])
///     .load()?;
/// let bus = config.connect().await?;
/// assert_eq!(bus.settings().namespace.as_str(), "shop");
/// # Ok(()) }
/// ```
///
/// A service needs one line: `Config::load()?.connect().await?`.
#[derive(Clone)]
pub struct Config {
    url: BusUrl,
    values: Vec<ConfigValue>,
    workers: BTreeMap<String, WorkerOptions>,
}

/// A value that was configured, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigValue {
    /// Section and key, such as `redis.database`.
    pub key: String,
    /// The value; `***` for a secret.
    pub value: String,
    /// Where it came from, such as `bus.toml` or `the environment`.
    pub from: String,
    /// Whether it applies: it does not in a section of another transport than the URL's.
    pub applies: bool,
}

impl Config {
    /// Reads `bus.toml` in the working directory, if it is there, or the file that `BUS_CONFIG` names, and
    /// the environment.
    ///
    /// # Errors
    /// `InvalidConfig`, naming key, place and what would be right; never a secret.
    pub fn load() -> Result<Self> {
        Self::loader().load()
    }

    /// The same with choices.
    pub fn loader() -> ConfigLoader {
        ConfigLoader::default()
    }

    /// The URL with all options in its query. It holds secrets; `Display` does not show them.
    #[must_use]
    pub fn url(&self) -> &BusUrl {
        &self.url
    }

    /// Everything that was configured, in order of the keys, without secrets.
    #[must_use]
    pub fn values(&self) -> &[ConfigValue] {
        &self.values
    }

    /// The options of workers, by name.
    #[must_use]
    pub fn workers(&self) -> &BTreeMap<String, WorkerOptions> {
        &self.workers
    }

    /// Connects to the bus.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn connect(&self) -> Result<BusClient> {
        self.connect_with(Connector::new()).await
    }

    /// Connects with a connector of one's own: other codecs, a trace hook, transports of third parties.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn connect_with(&self, connector: Connector) -> Result<BusClient> {
        let connector = self
            .workers
            .iter()
            .fold(connector, |connector, (name, options)| {
                connector.worker_options(name, options.clone())
            });
        connector.connect(self.url.clone()).await
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &self.url)
            .field("values", &self.values)
            .field("workers", &self.workers)
            .finish()
    }
}
