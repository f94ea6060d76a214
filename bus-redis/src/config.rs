//! What a connection to Redis is configured with.

use bus_api::adapter::TlsFiles;
use bus_api::{BusUrl, Result, Settings};

use crate::address::{self, Address};
use crate::error::{NAME, invalid_config};
use crate::tls;

/// How to connect: made of a URL, or in code.
///
/// The forms are `redis://[user[:password]@]host[:port][/database]`, `unix:///path/of/the/socket` and
/// `redis+sentinel://host[:port][,host[:port]…]/master[/database]`, with options; `rediss` instead of `redis`
/// is TLS.
#[derive(Clone)]
pub struct Config {
    /// Where the server is.
    pub address: Address,
    /// TLS: with a URL of `rediss://` or `rediss+sentinel://`.
    pub tls: Option<TlsFiles>,
    /// The ACL user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<bus_api::Secret>,
    /// `/7` or `database`: the number of the database; default 0.
    pub database: u32,
    /// `max_payload`: the largest payload, in bytes; default 1 MiB.
    pub max_payload: usize,
    /// What means the same on every transport.
    pub settings: Settings,
}

impl Config {
    /// The options of a URL that concern this transport alone.
    pub const KEYS: [&'static str; 7] = [
        "max_payload",
        "database",
        "tls_ca",
        "tls_cert",
        "tls_key",
        "sentinel_user",
        "sentinel_password",
    ];
    /// The largest payload unless another one is configured, in bytes.
    pub const DEFAULT_MAX_PAYLOAD: usize = 1 << 20;
    /// What one entry may take on the server less room for headers (512 MiB is the server's bound).
    const MOST_PAYLOAD: usize = 256 << 20;

    /// Reads the URL; the common options were taken into `settings` before.
    ///
    /// # Errors
    /// `InvalidConfig` for another scheme, for parts that do not fit, and for unknown or unreadable
    /// options.
    pub fn from_url(mut url: BusUrl, settings: Settings) -> Result<Self> {
        let mut options = std::mem::take(url.options_mut());
        let max_payload = options
            .take_bytes("max_payload")?
            .map_or(Self::DEFAULT_MAX_PAYLOAD, |bytes| {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            });
        if max_payload == 0 || max_payload > Self::MOST_PAYLOAD {
            return Err(invalid_config(
                "option `max_payload` is at least 1 and at most 256MiB",
            ));
        }
        let database: Option<u32> = options.take_parsed("database", "the number of a database")?;
        let parsed = address::parse(&url, &mut options)?;
        let tls = tls::take(&mut options, parsed.tls)?;
        let known = [Settings::KEYS.as_slice(), Self::KEYS.as_slice()].concat();
        options.finish(&known)?;
        if parsed.database.is_some() && database.is_some() {
            return Err(invalid_config(
                "the database is said twice, in the path and as option `database`",
            ));
        }
        Ok(Self {
            address: parsed.address,
            tls,
            user: url.user().map(str::to_owned),
            password: url.password().cloned(),
            database: parsed.database.or(database).unwrap_or(0),
            max_payload,
            settings,
        })
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(NAME)
            .field("address", &self.address)
            .field("tls", &self.tls)
            .field("database", &self.database)
            .finish_non_exhaustive()
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
    fn a_url_says_where_and_what() {
        let config = read("redis://u:p@h/7?max_payload=4KiB&namespace=a").unwrap();
        assert_eq!(config.address, Address::Tcp("h".into(), 6379));
        assert_eq!((config.database, config.max_payload), (7, 4096));
        assert_eq!(config.user.as_deref(), Some("u"));
        assert_eq!(
            read("unix:///run/redis.sock?database=2").unwrap().address,
            Address::Unix("/run/redis.sock".into())
        );
        assert!(!format!("{config:?}").contains("\"p\""));
    }

    #[test]
    fn tls_and_sentinels_are_said_by_the_scheme() {
        let config = read("rediss://h?tls_ca=/ca&tls_cert=/c&tls_key=/k").unwrap();
        let tls = config.tls.unwrap();
        assert_eq!(tls.ca, Some("/ca".into()));
        assert_eq!(tls.client, Some(("/c".into(), "/k".into())));
        let config = read("redis+sentinel://u:p@a,b:7/m/3?sentinel_password=s").unwrap();
        let Address::Sentinel(sentinels) = &config.address else {
            panic!("{config:?}");
        };
        assert_eq!(sentinels.hosts, [("a".into(), 26379), ("b".into(), 7)]);
        assert_eq!((sentinels.master.as_str(), config.database), ("m", 3));
        assert!(!format!("{config:?}").contains("\"s\""));
        assert_eq!(config.user.as_deref(), Some("u"));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for url in [
            "memory://",
            "redis://",
            "redis://a,b",
            "redis://a/x",
            "redis://a/1?database=2",
            "redis://a?max_payload=0",
            "redis://a?max_paylod=1",
            "unix://",
            "redis+sentinel://a",
            "redis+sentinel:///m",
            "redis+sentinel://a/m/x",
            "unix+sentinel://a/m",
            "redis://a?sentinel_password=p",
            "redis://a?tls_ca=/ca.pem",
            "rediss://a?tls_cert=/c.pem",
            "rediss://a?tls_key=/k.pem",
        ] {
            assert_eq!(
                read(url).unwrap_err().kind(),
                ErrorKind::InvalidConfig,
                "{url}"
            );
        }
        let error = read("redis://a?max_paylod=1").unwrap_err().to_string();
        assert!(error.contains("`max_payload`"), "{error}");
    }
}
