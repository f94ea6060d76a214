//! What a connection to Kafka is configured with.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bus_api::adapter::TlsFiles;
use bus_api::{BusUrl, Connector, ErrorKind, Result, Settings};
use rdkafka::ClientConfig;

use crate::error::{error, invalid_config};
use crate::login::{Login, TokenSource};
use crate::names::Names;
use crate::tls;

/// How to connect: made of a URL, or in code.
///
/// The form is `kafka://[user[:password]@]host[:port][,host[:port]…]`, with options.
#[derive(Clone)]
pub struct Config {
    /// The bootstrap servers, `host:port`.
    pub servers: Vec<String>,
    /// User and password, for SASL.
    pub login: Option<Login>,
    /// Where tokens come from, for SASL OAUTHBEARER; only in code, and only without `login`.
    pub tokens: Option<Arc<dyn TokenSource>>,
    /// TLS, when it is wanted.
    pub tls: Option<TlsFiles>,
    /// `partitions`: of topics that the bus creates; default 3. More partitions, more members at work; an
    /// existing topic keeps what it has, because another number would break the order of keys.
    pub partitions: u16,
    /// `depth`: topics whose first tokens, that many, are the same share a Kafka topic; 1 to 4, default 1. One
    /// for all members of a namespace.
    pub depth: u8,
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

impl Config {
    /// The options of a URL that concern this transport alone, `kafka.NAME` aside.
    pub const KEYS: [&'static str; 9] = [
        "depth",
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
    /// A rebalance is noticed that late.
    const HEARTBEAT: Duration = Duration::from_millis(300);
    const DEFAULT_PARTITIONS: u16 = 3;
    const DEFAULT_DEPTH: u8 = 1;
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
        let depth = options
            .take_parsed("depth", "a number of tokens")?
            .unwrap_or(Self::DEFAULT_DEPTH);
        if !(1..=Names::MOST_DEPTH).contains(&depth) {
            return Err(invalid_config(format!(
                "option `depth` is between 1 and {}",
                Names::MOST_DEPTH
            )));
        }
        let login = Login::take(&url, &mut options)?;
        let tls = tls::take(&mut options)?;
        let properties = options.take_prefix(Self::PREFIX);
        options.finish(&Connector::keys(&Self::KEYS))?;
        Ok(Self {
            servers,
            login,
            tokens: None,
            tls,
            partitions,
            depth,
            replication,
            max_payload,
            properties,
            settings,
        })
    }

    /// # Errors
    /// `InvalidConfig` for files that cannot be used and contradictions; `Unsupported` for what this build lacks.
    pub(crate) fn checked(&self) -> Result<()> {
        if self.login.is_some() && self.tokens.is_some() {
            return Err(invalid_config(
                "a login is either by user and password or by tokens",
            ));
        }
        let wants_openssl = self.tls.is_some()
            || self.tokens.is_some()
            || self.login.as_ref().is_some_and(Login::wants_openssl);
        if wants_openssl && !cfg!(feature = "tls") {
            return Err(error(
                ErrorKind::Unsupported,
                "this build has no TLS, SCRAM and OAUTHBEARER for Kafka; feature `kafka-tls` brings them",
            ));
        }
        match &self.tls {
            Some(files) => tls::check(files),
            None => Ok(()),
        }
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
        let has_login = self.login.is_some() || self.tokens.is_some();
        let protocol = match (has_login, &self.tls) {
            (false, None) => "plaintext",
            (false, Some(_)) => "ssl",
            (true, None) => "sasl_plaintext",
            (true, Some(_)) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        if let Some(login) = &self.login {
            login.apply(&mut client);
        }
        if self.tokens.is_some() {
            client.set("sasl.mechanism", "OAUTHBEARER");
        }
        if let Some(tls) = &self.tls {
            tls::apply(tls, &mut client);
        }
        client
    }

    /// Whether members join by the newer protocol, in which the brokers say how long a session is.
    pub(crate) fn has_consumer_protocol(&self) -> bool {
        self.properties
            .get("group.protocol")
            .is_some_and(|protocol| protocol.eq_ignore_ascii_case("consumer"))
    }

    /// What a consumer in a group needs beside.
    pub(crate) fn in_group(&self, client: &mut ClientConfig, session: Duration) {
        client
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set(
                "max.poll.interval.ms",
                session.as_millis().max(300_000).to_string(),
            );
        if !self.has_consumer_protocol() {
            Self::in_classic_group(client, session);
        }
    }

    /// What only a consumer in a group of the older protocol may be given.
    pub(crate) fn in_classic_group(client: &mut ClientConfig, session: Duration) {
        client
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session.as_millis().to_string())
            .set(
                "heartbeat.interval.ms",
                (session / 4).min(Self::HEARTBEAT).as_millis().to_string(),
            );
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::Mechanism;

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
            "kafka://a?depth=0",
            "kafka://a?depth=5",
            "kafka://a?max_payload=0",
            "kafka://a?partitons=1",
            "kafka://u@a",
            "kafka://a?sasl=plain",
            "kafka://a?tls_cert=x",
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
