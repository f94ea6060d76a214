//! URLs of a bus: several hosts, credentials, a path and options.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::connect::options::Options;
use crate::error::{Error, ErrorKind, Result};

/// A parsed URL: `scheme://[user[:password]@]host[:port][,host[:port]…][/path][?key=value&…]`.
///
/// The hosts are split here, before any client's URL parser sees them, because such parsers know one
/// host. User, password, path and options are percent-decoded. `Display` and `Debug` never show the
/// password or an option's value.
///
/// ```
/// use bus_api::BusUrl;
///
/// let url: BusUrl = "kafka://svc:p%40ss@a:9092,b:9093?namespace=shop".parse()?;
/// assert_eq!(url.scheme(), "kafka");
/// assert_eq!(url.hosts().len(), 2);
/// assert_eq!(url.password().map(|p| p.expose()), Some("p@ss"));
/// assert_eq!(url.to_string(), "kafka://svc:***@a:9092,b:9093?namespace=***");
/// # Ok::<(), bus_api::Error>(())
/// ```
#[derive(Clone)]
pub struct BusUrl {
    scheme: String,
    user: Option<String>,
    password: Option<Secret>,
    hosts: Vec<HostPort>,
    path: String,
    options: Options,
}

/// A host with its port, when one was written. An IPv6 address is without its brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: Option<u16>,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to hand it to a client.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl BusUrl {
    /// The part before `://`, in lower case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The user, decoded.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password, decoded.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// Replaces the user.
    pub fn set_user(&mut self, user: Option<String>) {
        self.user = user.filter(|user| !user.is_empty());
    }

    /// Replaces the password.
    pub fn set_password(&mut self, password: Option<Secret>) {
        self.password = password.filter(|password| !password.expose().is_empty());
    }

    /// The hosts in the order in which they were written; empty for `memory://` and `unix://`.
    #[must_use]
    pub fn hosts(&self) -> &[HostPort] {
        &self.hosts
    }

    /// The path without its leading slash, decoded; empty when there is none.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The options of the query.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The options of the query, to take or to set some.
    pub fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }
}

impl FromStr for BusUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (scheme, rest) = text.trim().split_once("://").ok_or_else(|| {
            wrong("a bus URL starts with a scheme, such as memory:// or redis://host:6379")
        })?;
        if scheme.is_empty()
            || !scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        {
            return Err(wrong("the scheme of a bus URL is letters, digits, + - ."));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let (user, password) =
            match credentials.map(|text| text.split_once(':').unwrap_or((text, ""))) {
                None => (None, None),
                Some((user, password)) => (
                    Some(decode(user, "user")?),
                    Some(decode(password, "password")?),
                ),
            };
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            user: user.filter(|user| !user.is_empty()),
            password: password.filter(|password| !password.is_empty()).map(Secret),
            hosts: parse_hosts(hosts)?,
            path: decode(path, "path")?,
            options: parse_query(query)?,
        })
    }
}

impl TryFrom<&str> for BusUrl {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<&String> for BusUrl {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<String> for BusUrl {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

fn parse_hosts(text: &str) -> Result<Vec<HostPort>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(parse_host).collect()
}

fn parse_host(text: &str) -> Result<HostPort> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, rest)) => (address, Some(rest.strip_prefix(':').unwrap_or(rest))),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(wrong(
            "a host of the bus URL is empty; write host:port[,host:port…]",
        ));
    }
    let port = port
        .map(|port| {
            port.parse::<u16>()
                .map_err(|_| wrong("a port of the bus URL is no number from 0 to 65535"))
        })
        .transpose()?;
    Ok(HostPort {
        host: decode(host, "host")?,
        port,
    })
}

fn parse_query(query: &str) -> Result<Options> {
    let mut options = Options::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| wrong("an option of the bus URL has no value; write key=value"))?;
        options.insert(decode(name, "option")?, decode(value, "option")?)?;
    }
    Ok(options)
}

fn decode(text: &str, part: &'static str) -> Result<String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| wrong("a percent-encoded part of the bus URL is not UTF-8").with("part", part))
}

fn wrong(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

impl fmt::Display for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        if self.user.is_some() || self.password.is_some() {
            f.write_str(self.user.as_deref().unwrap_or_default())?;
            f.write_str(if self.password.is_some() {
                ":***@"
            } else {
                "@"
            })?;
        }
        for (index, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if index == 0 { "" } else { "," })?;
        }
        if !self.path.is_empty() {
            write!(f, "/{}", self.path)?;
        }
        for (index, name) in self.options.names().enumerate() {
            write!(f, "{}{name}=***", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BusUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> BusUrl {
        text.parse().unwrap()
    }

    #[test]
    fn all_parts_are_found() {
        let url = url("REDIS://u%3A:p%2F@[::1]:6380,b/7?a=1&b=x%26y");
        assert_eq!(
            (url.scheme(), url.user(), url.path()),
            ("redis", Some("u:"), "7")
        );
        assert_eq!(url.password().unwrap().expose(), "p/");
        assert_eq!(
            url.hosts()[0],
            HostPort {
                host: "::1".into(),
                port: Some(6380)
            }
        );
        assert_eq!(
            url.hosts()[1],
            HostPort {
                host: "b".into(),
                port: None
            }
        );
        assert_eq!(url.options().get("b"), Some("x&y"));
    }

    #[test]
    fn memory_has_no_host() {
        assert!(url("memory://").hosts().is_empty());
        assert_eq!(url("memory://shop").hosts()[0].host, "shop");
        assert_eq!(
            url("unix:///var/run/redis.sock").path(),
            "var/run/redis.sock"
        );
    }

    #[test]
    fn nonsense_is_an_error_without_the_secret() {
        for wrong in [
            "",
            "redis",
            "://a",
            "re dis://a",
            "redis://u:hunter2@a:x",
            "redis://u:hunter2@a:99999",
            "redis://u:hunter2@a,,b",
            "redis://u:hunter2@a?x",
            "redis://u:hunter2%ff@a",
            "redis://a?x=1&x=2",
        ] {
            let error = wrong.parse::<BusUrl>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{wrong}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
