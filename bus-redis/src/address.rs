//! Where a server is.

use std::path::PathBuf;

use bus_api::{BusUrl, HostPort, Options, Result, Secret};

use crate::error::invalid_config;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// Host and port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
    /// Whoever the sentinels say is the primary.
    Sentinel(Sentinels),
}

/// The sentinels that know which server is the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentinels {
    /// Host and port of each; the first that answers is believed.
    pub hosts: Vec<(String, u16)>,
    /// The name under which they watch the primary.
    pub master: String,
    /// `sentinel_user`: the ACL user of the sentinels themselves.
    pub user: Option<String>,
    /// `sentinel_password`: the password of the sentinels themselves.
    pub password: Option<Secret>,
}

/// What a URL says: where, whether over TLS, and the database when the path names it.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) address: Address,
    pub(crate) tls: bool,
    pub(crate) database: Option<u32>,
}

/// Reads scheme, hosts and path.
///
/// # Errors
/// `InvalidConfig`, saying what would be right.
pub(crate) fn parse(url: &BusUrl, options: &mut Options) -> Result<Parsed> {
    let user = options.take("sentinel_user");
    let password = options.take("sentinel_password").map(Secret::new);
    let (scheme, sentinel) = match url.scheme().strip_suffix("+sentinel") {
        Some(scheme) => (scheme, true),
        None => (url.scheme(), false),
    };
    if !sentinel && (user.is_some() || password.is_some()) {
        return Err(invalid_config(
            "`sentinel_user` and `sentinel_password` need a URL redis+sentinel://host:port/master",
        ));
    }
    let (address, database) = match (scheme, sentinel) {
        ("redis" | "rediss", true) => {
            let (master, database) = match url.path().split_once('/') {
                Some((master, database)) => (master, number(database)?),
                None => (url.path(), None),
            };
            if url.hosts().is_empty() || master.is_empty() {
                return Err(invalid_config(
                    "a URL of sentinels names them and the primary: \
                     redis+sentinel://host:port,host:port/master[/database]",
                ));
            }
            let sentinels = Sentinels {
                hosts: url
                    .hosts()
                    .iter()
                    .map(|host| host_port(host, SENTINEL_PORT))
                    .collect(),
                master: master.to_owned(),
                user,
                password,
            };
            (Address::Sentinel(sentinels), database)
        }
        ("redis" | "rediss", false) => {
            let [host] = url.hosts() else {
                return Err(invalid_config(
                    "the URL of a bus over Redis names one host: redis://host:port",
                ));
            };
            let (host, port) = host_port(host, PORT);
            (Address::Tcp(host, port), number(url.path())?)
        }
        ("unix", false) => {
            if !url.hosts().is_empty() || url.path().is_empty() {
                return Err(invalid_config(
                    "the URL of a socket has an absolute path: unix:///run/redis.sock",
                ));
            }
            let path = PathBuf::from("/").join(url.path());
            (Address::Unix(path), None)
        }
        _ => {
            return Err(invalid_config(
                "the URL of a bus over Redis is redis://host:port[/database], the same with rediss:// \
                 for TLS, unix:///path, or redis+sentinel://host:port/master",
            ));
        }
    };
    Ok(Parsed {
        address,
        tls: scheme == "rediss",
        database,
    })
}

fn host_port(host: &HostPort, port: u16) -> (String, u16) {
    (host.host.clone(), host.port.unwrap_or(port))
}

fn number(path: &str) -> Result<Option<u32>> {
    match path {
        "" => Ok(None),
        path => path
            .parse()
            .map(Some)
            .map_err(|_| invalid_config("the path of a redis:// URL is the number of a database")),
    }
}
