//! What a connection to Kafka is configured with.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bus_api::adapter::TlsFiles;
use bus_api::{BusUrl, Connector, Options, Result, Secret, Settings};
use rdkafka::ClientConfig;

use crate::error::{NAME, invalid_config};

/// How to connect: made of a URL, or in code.
///
/// The form is `kafka://[user[:password]@]host[:port][,host[:port]…]`, with options.
#[derive(Clone)]
pub struct Config {
    /// The bootstrap servers, `host:port`.
    pub servers: Vec<String>,
    /// User and password, for SASL.
    pub login: Option<Login>,
    /// TLS, when it is wanted.
    pub tls: Option<TlsFiles>,
    /// `partitions`: of topics that the bus creates; default 3. More partitions, more members at work; an
    /// existing topic keeps what it has, because another number would break the order of keys.
    pub partitions: u16,
    /// `replication`: of topics that the bus creates; default what the broker's `default.replication.factor`
    /// says.
    pub replication: Option<u16>,
    /// `max_payload`: the largest payload, in bytes; default, and at most, the broker's
    /// `message.max.bytes` less 64 KiB for headers.
    pub max_payload: Option<usize>,
    /// `kafka.NAME`: properties of librdkafka, for every client of the connection.
    pub properties: BTreeMap<String, String>,
    /// What means the same on every transport.
    pub settings: Settings,
}

/// Who connects.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// `sasl`: `plain`, `scram-sha-256` (default) or `scram-sha-512`.
    pub mechanism: Mechanism,
}

/// How user and password are shown to the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mechanism {
    /// SASL PLAIN: the broker sees the password, and without TLS everybody on the way.
    Plain,
    /// SASL SCRAM-SHA-256.
    #[default]
    Scram256,
    /// SASL SCRAM-SHA-512.
    Scram512,
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram256 => "SCRAM-SHA-256",
            Self::Scram512 => "SCRAM-SHA-512",
        }
    }
}

impl Config {
    /// The options of a URL that concern this transport alone, `kafka.NAME` aside.
    pub const KEYS: [&'static str; 8] = [
        "max_payload",
        "partitions",
        "replication",
        "sasl",
        "tls",
        "tls_ca",
        "tls_cert",
        "tls_key",
    ];
    /// Room for headers and the frame of a record, in bytes.
    pub const HEADERS: usize = 64 << 10;
    /// What a dead letter may take beyond its message, in bytes.
    pub(crate) const DEAD_LETTER_ROOM: usize = 1 << 20;
    const DEFAULT_PARTITIONS: u16 = 3;
    const DEFAULT_PORT: u16 = 9092;
    /// Options that start so are properties of librdkafka.
    pub const PREFIX: &'static str = "kafka.";

    /// Reads the URL; the common options were taken into `settings` before.
    ///
    /// # Errors
    /// `InvalidConfig` for another scheme, for parts that do not fit, and for unknown or unreadable options.
    pub fn from_url(mut url: BusUrl, settings: Settings) -> Result<Self> {
        let mut options = std::mem::take(url.options_mut());
        if url.scheme() != "kafka" || url.hosts().is_empty() || !url.path().is_empty() {
            return Err(invalid_config(
                "the URL of a bus over Kafka is kafka://host:port[,host:port…]",
            ));
        }
        let servers = url
            .hosts()
            .iter()
            .map(|host| {
                let port = host.port.unwrap_or(Self::DEFAULT_PORT);
                if host.host.contains(':') {
                    format!("[{}]:{port}", host.host)
                } else {
                    format!("{}:{port}", host.host)
                }
            })
            .collect();
        let max_payload = options
            .take_bytes("max_payload")?
            .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if max_payload == Some(0) {
            return Err(invalid_config("option `max_payload` is at least 1"));
        }
        let partitions = options
            .take_parsed("partitions", "a number of partitions")?
            .unwrap_or(Self::DEFAULT_PARTITIONS);
        let replication = options.take_parsed("replication", "a number of replicas")?;
        if partitions == 0 || replication == Some(0) {
            return Err(invalid_config(
                "options `partitions` and `replication` are at least 1",
            ));
        }
        let login = take_login(&url, &mut options)?;
        let tls = take_tls(&mut options)?;
        let properties = options.take_prefix(Self::PREFIX);
        options.finish(&Connector::keys(&Self::KEYS))?;
        Ok(Self {
            servers,
            login,
            tls,
            partitions,
            replication,
            max_payload,
            properties,
            settings,
        })
    }

    /// What every client of the connection needs.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", self.servers.join(","))
            .set("client.id", &*self.settings.source)
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("allow.auto.create.topics", "false")
            .set("log.connection.close", "false");
        let protocol = match (&self.login, &self.tls) {
            (None, None) => "plaintext",
            (None, Some(_)) => "ssl",
            (Some(_), None) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        if let Some(login) = &self.login {
            client
                .set("sasl.mechanism", login.mechanism.name())
                .set("sasl.username", &login.user)
                .set("sasl.password", login.password.expose());
        }
        let tls = self.tls.clone().unwrap_or_default();
        let (certificate, key) = tls.client.unzip();
        for (name, file) in [
            ("ssl.ca.location", tls.ca),
            ("ssl.certificate.location", certificate),
            ("ssl.key.location", key),
        ] {
            if let Some(file) = file {
                client.set(name, file.display().to_string());
            }
        }
        client
    }

    /// Sets the properties that the user gave; last, so that they win.
    pub(crate) fn finish(&self, client: &mut ClientConfig) {
        for (name, value) in &self.properties {
            client.set(name, value);
        }
    }

    /// How long one question to the broker may take.
    pub(crate) fn patience(&self) -> Duration {
        self.settings
            .connect_timeout
            .max(Duration::from_millis(500))
    }
}

fn take_login(url: &BusUrl, options: &mut Options) -> Result<Option<Login>> {
    let mechanisms = [
        ("plain", Mechanism::Plain),
        ("scram-sha-256", Mechanism::Scram256),
        ("scram-sha-512", Mechanism::Scram512),
    ];
    let mechanism = options.take_choice("sasl", &mechanisms)?;
    match (url.user(), url.password()) {
        (Some(user), Some(password)) => Ok(Some(Login {
            user: user.to_owned(),
            password: password.clone(),
            mechanism: mechanism.unwrap_or_default(),
        })),
        (None, None) if mechanism.is_none() => Ok(None),
        _ => Err(invalid_config(
            "a login needs a user and a password: kafka://user:password@host:port",
        )),
    }
}

fn take_tls(options: &mut Options) -> Result<Option<TlsFiles>> {
    let wanted = options.take_bool("tls")?;
    let files = TlsFiles::take(options).map_err(|error| error.transport(NAME))?;
    let named = !files.is_empty();
    if named && wanted == Some(false) {
        return Err(invalid_config(
            "option `tls` is off and others of TLS are given",
        ));
    }
    let on = named || wanted == Some(true);
    if on {
        return Err(crate::error::error(
            bus_api::ErrorKind::Unsupported,
            "this release of the bus has no TLS for Kafka",
        ));
    }
    Ok(None)
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("servers", &self.servers)
            .field("partitions", &self.partitions)
            .field("replication", &self.replication)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("mechanism", &self.mechanism)
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
        let config =
            read("kafka://u:p@h,i:1?partitions=6&namespace=a&kafka.linger.ms=3&sasl=plain")
                .unwrap();
        assert_eq!(config.servers, ["h:9092", "i:1"]);
        assert_eq!(config.partitions, 6);
        assert_eq!(config.properties["linger.ms"], "3");
        assert_eq!(config.login.as_ref().unwrap().mechanism, Mechanism::Plain);
        assert!(!format!("{config:?}{:?}", config.login).contains("\"p\""));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for url in [
            "memory://",
            "kafka://",
            "kafka://a/x",
            "kafka://a?partitions=0",
            "kafka://a?replication=0",
            "kafka://a?max_payload=0",
            "kafka://a?partitons=1",
            "kafka://u@a",
            "kafka://a?sasl=plain",
            "kafka://a?tls.cert=x",
        ] {
            assert_eq!(
                read(url).unwrap_err().kind(),
                ErrorKind::InvalidConfig,
                "{url}"
            );
        }
        let error = read("kafka://a?partitons=1").unwrap_err().to_string();
        assert!(error.contains("`partitions`"), "{error}");
    }
}
