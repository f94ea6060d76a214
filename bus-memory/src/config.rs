//! What a connection to a bus in memory is configured with.

use bus_api::{BusUrl, Result, Settings};

use crate::error::invalid_config;

/// How to connect: made of a URL, or in code.
///
/// ```
/// use bus_memory::{Config, MemoryBus};
///
/// let config = Config { max_payload: 4 << 20, ..Config::named("shop") };
/// let bus = MemoryBus::with(config);
/// # drop(bus);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Connections that give the same name share one broker in this process; without a name each has a
    /// fresh one of its own.
    pub name: Option<String>,
    /// `max_payload`: the largest payload, in bytes; default 1 MiB.
    pub max_payload: usize,
    /// `memory_limit`: most bytes that a namespace takes in memory, all told: messages with an estimate
    /// of their overhead, and dead letters. Default 512 MiB; when `retention.bytes` is set, twice that
    /// on top.
    ///
    /// At the limit the oldest messages that every subscription has settled make room. When there are
    /// too few of them, publishes are refused with `Throttled`, or the oldest are dropped, as
    /// `retention.full` says.
    pub memory_limit: u64,
    /// What means the same on every transport; `retention` and `dedup_window` of the first connection
    /// to a namespace are in force until another one brings different ones that are not the defaults.
    pub settings: Settings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: None,
            max_payload: Self::DEFAULT_MAX_PAYLOAD,
            memory_limit: Self::DEFAULT_MEMORY_LIMIT,
            settings: Settings::default(),
        }
    }
}

impl Config {
    /// The options of a URL that concern this transport alone.
    pub const KEYS: [&'static str; 2] = ["max_payload", "memory_limit"];
    /// The largest payload unless another one is configured, in bytes.
    pub const DEFAULT_MAX_PAYLOAD: usize = 1 << 20;
    /// The bound of memory unless another one is configured, in bytes.
    pub const DEFAULT_MEMORY_LIMIT: u64 = 512 << 20;

    /// The defaults, for the broker of this name.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::default()
        }
    }

    /// Reads `memory://[name][?max_payload=…&memory_limit=…]`; the common options were taken into
    /// `settings` before.
    ///
    /// # Errors
    /// `InvalidConfig` for another scheme, for parts that a bus in memory has not, and for unknown or
    /// unreadable options.
    pub fn from_url(mut url: BusUrl, settings: Settings) -> Result<Self> {
        if url.scheme() != crate::error::NAME {
            return Err(invalid_config(
                "the URL of a bus in memory is memory://[name]",
            ));
        }
        let plain = url.user().is_none()
            && url.password().is_none()
            && url.path().is_empty()
            && url.hosts().len() <= 1
            && url.hosts().iter().all(|host| host.port.is_none());
        if !plain {
            return Err(invalid_config(
                "a bus in memory has at most a name: memory://name, without credentials, port or path",
            ));
        }
        let mut config = Self {
            name: url.hosts().first().map(|host| host.host.clone()),
            ..Self::default()
        };
        let options = url.options_mut();
        if let Some(bytes) = options.take_bytes("max_payload")? {
            config.max_payload = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        config.memory_limit = match (
            options.take_bytes("memory_limit")?,
            settings.retention.bytes,
        ) {
            (Some(bytes), _) => bytes,
            (None, Some(bytes)) => {
                Self::DEFAULT_MEMORY_LIMIT.saturating_add(bytes.saturating_mul(2))
            }
            (None, None) => Self::DEFAULT_MEMORY_LIMIT,
        };
        if config.max_payload == 0 || config.memory_limit == 0 {
            return Err(invalid_config(
                "options `max_payload` and `memory_limit` are at least 1",
            ));
        }
        let known = [Settings::KEYS.as_slice(), Self::KEYS.as_slice()].concat();
        std::mem::take(options).finish(&known)?;
        config.settings = settings;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use bus_api::ErrorKind;

    use super::*;

    fn read(url: &str) -> Result<Config> {
        let mut url: BusUrl = url.parse()?;
        let settings = Settings::take(url.options_mut())?;
        Config::from_url(url, settings)
    }

    #[test]
    fn a_url_says_name_and_options() {
        assert_eq!(read("memory://").unwrap(), Config::default());
        let config = read("memory://shop?max_payload=4KiB&memory_limit=1GiB&namespace=a").unwrap();
        assert_eq!(config.name.as_deref(), Some("shop"));
        assert_eq!((config.max_payload, config.memory_limit), (4096, 1 << 30));
        assert_eq!(config.settings.namespace.as_str(), "a");
        let config = read("memory://?retention.bytes=1GiB").unwrap();
        assert_eq!(config.memory_limit, (2 << 30) + (512 << 20));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for url in [
            "redis://",
            "memory://a:1",
            "memory://a,b",
            "memory://u:p@a",
            "memory://a/7",
            "memory://?max_payload=0",
            "memory://?max_payload=x",
            "memory://?max_paylod=1",
        ] {
            let error = read(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
        }
        let error = read("memory://?max_paylod=1").unwrap_err().to_string();
        assert!(error.contains("`max_payload`"), "{error}");
    }
}
