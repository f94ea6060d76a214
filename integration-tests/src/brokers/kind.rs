//! The brokers that the harness knows.

use std::fmt;
use std::str::FromStr;

/// A broker that the harness knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Redis.
    Redis,
    /// NATS with JetStream.
    Nats,
    /// Kafka in KRaft mode.
    Kafka,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Redis, Self::Nats, Self::Kafka];

    /// The name, which is also the scheme of its URL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::Kafka => "kafka",
        }
    }

    /// The environment variable that gives the address of one that runs already.
    #[must_use]
    pub const fn url_variable(self) -> &'static str {
        match self {
            Self::Redis => "BUS_TEST_REDIS_URL",
            Self::Nats => "BUS_TEST_NATS_URL",
            Self::Kafka => "BUS_TEST_KAFKA_URL",
        }
    }

    /// The environment variable that names another image, as `name:tag`.
    #[must_use]
    pub const fn image_variable(self) -> &'static str {
        match self {
            Self::Redis => "BUS_REDIS_IMAGE",
            Self::Nats => "BUS_NATS_IMAGE",
            Self::Kafka => "BUS_KAFKA_IMAGE",
        }
    }

    /// The image that is used otherwise.
    #[must_use]
    pub const fn image(self) -> &'static str {
        match self {
            Self::Redis => "redis:8.0.2",
            Self::Nats => "nats:2.14.9",
            Self::Kafka => "apache/kafka:4.1.0",
        }
    }

    /// What a run adds to the options of the URL, each after a `&`: what `BUS_TEST_KAFKA_OPTIONS` says for Kafka, such
    /// as `kafka.group.protocol=consumer`.
    #[must_use]
    pub fn more_options(self) -> String {
        let said = (self == Self::Kafka).then(|| std::env::var("BUS_TEST_KAFKA_OPTIONS"));
        said.and_then(Result::ok)
            .map_or_else(String::new, |options| format!("&{options}"))
    }

    /// The URL of one that listens at this address, `host:port`.
    #[must_use]
    pub fn url(self, address: &str) -> String {
        format!("{}://{address}", self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| anyhow::anyhow!("{name:?} is none of `redis`, `nats`, `kafka`"))
    }
}
