//! What a connection to Redis is configured with.

use std::path::PathBuf;

use bus_api::{BusUrl, Result, Settings};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

use crate::error::{NAME, invalid_config};

/// How to connect: made of a URL, or in code.
///
/// The forms are `redis://[user[:password]@]host[:port][/database]` and
/// `unix:///path/of/the/socket`, with options.
#[derive(Clone)]
pub struct Config {
    /// Where the server is.
    pub address: Address,
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

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// Host and port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl Config {
    /// The options of a URL that concern this transport alone.
    pub const KEYS: [&'static str; 2] = ["max_payload", "database"];
    /// The largest payload unless another one is configured, in bytes.
    pub const DEFAULT_MAX_PAYLOAD: usize = 1 << 20;
    /// What one entry may take on the server less room for headers (512 MiB is the server's bound).
    const MOST_PAYLOAD: usize = 256 << 20;
    const DEFAULT_PORT: u16 = 6379;

    /// Reads the URL; the common options were taken into `settings` before.
    ///
    /// # Errors
    /// `InvalidConfig` for another scheme, for parts that do not fit, and for unknown or unreadable
    /// options; `Unsupported` for TLS, which this build has not.
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
        let known = [Settings::KEYS.as_slice(), Self::KEYS.as_slice()].concat();
        options.finish(&known)?;
        let (address, in_path) = match url.scheme() {
            "redis" => address(&url)?,
            "unix" => (unix(&url)?, None),
            "rediss" => {
                return Err(crate::error::error(
                    bus_api::ErrorKind::Unsupported,
                    "this build of the bus has no TLS for Redis",
                ));
            }
            _ => {
                return Err(invalid_config(
                    "the URL of a bus over Redis is redis://host:port[/database] or unix:///path",
                ));
            }
        };
        if in_path.is_some() && database.is_some() {
            return Err(invalid_config(
                "the database is said twice, in the path and as option `database`",
            ));
        }
        Ok(Self {
            address,
            user: url.user().map(str::to_owned),
            password: url.password().cloned(),
            database: in_path.or(database).unwrap_or(0),
            max_payload,
            settings,
        })
    }

    /// What the client library needs.
    pub(crate) fn connection_info(&self) -> Result<ConnectionInfo> {
        let address = match &self.address {
            Address::Tcp(host, port) => ConnectionAddr::Tcp(host.clone(), *port),
            Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
        };
        let mut redis = RedisConnectionInfo::default().set_db(i64::from(self.database));
        if let Some(user) = &self.user {
            redis = redis.set_username(user);
        }
        if let Some(password) = &self.password {
            redis = redis.set_password(password.expose());
        }
        let info = address
            .into_connection_info()
            .map_err(|native| crate::error::from_client(&native))?;
        let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
        Ok(info.set_tcp_settings(tcp).set_redis_settings(redis))
    }
}

fn address(url: &BusUrl) -> Result<(Address, Option<u32>)> {
    let [host] = url.hosts() else {
        return Err(invalid_config(
            "the URL of a bus over Redis names one host: redis://host:port",
        ));
    };
    let port = host.port.unwrap_or(Config::DEFAULT_PORT);
    let database = match url.path() {
        "" => None,
        path => Some(path.parse().map_err(|_| {
            invalid_config("the path of a redis:// URL is the number of a database")
        })?),
    };
    Ok((Address::Tcp(host.host.clone(), port), database))
}

fn unix(url: &BusUrl) -> Result<Address> {
    if !url.hosts().is_empty() || url.path().is_empty() {
        return Err(invalid_config(
            "the URL of a socket has an absolute path: unix:///run/redis.sock",
        ));
    }
    Ok(Address::Unix(PathBuf::from("/").join(url.path())))
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(NAME)
            .field("address", &self.address)
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
