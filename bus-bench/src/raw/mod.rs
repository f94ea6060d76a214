//! The clients that applications would use without the bus.

#[cfg(feature = "kafka")]
mod kafka;
mod memory;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "redis", feature = "nats", feature = "kafka"))]
mod template;

use anyhow::Result;
use bus::BusUrl;

use crate::side::Side;

/// The type of every message.
pub(crate) const EVENT_TYPE: &str = "bench.message";
/// How every payload is encoded.
pub(crate) const CONTENT_TYPE: &str = "application/octet-stream";

/// How a raw client is used.
#[cfg(any(feature = "redis", feature = "nats", feature = "kafka"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// As its best users use it: connections of their own, pipelines, batches.
    Best,
    /// As its documentation shows first.
    Plain,
}

/// The raw clients of the transport of `url`; none where there is none.
pub(crate) async fn sides(url: &BusUrl) -> Result<Vec<Box<dyn Side>>> {
    #[cfg(any(feature = "redis", feature = "nats", feature = "kafka"))]
    let address = &address(url);
    Ok(match url.scheme() {
        "memory" => vec![Box::new(memory::Broadcast), Box::new(memory::Mpsc)],
        #[cfg(feature = "redis")]
        "redis" | "rediss" => vec![
            Box::new(redis::Redis::connect(address, Use::Best).await?),
            Box::new(redis::Redis::connect(address, Use::Plain).await?),
        ],
        #[cfg(feature = "nats")]
        "nats" | "tls" => vec![
            Box::new(nats::Nats::connect(address, Use::Best).await?),
            Box::new(nats::Nats::connect(address, Use::Plain).await?),
        ],
        #[cfg(feature = "kafka")]
        "kafka" => vec![
            Box::new(kafka::Kafka::connect(address, Use::Best).await?),
            Box::new(kafka::Kafka::connect(address, Use::Plain).await?),
        ],
        _ => Vec::new(),
    })
}

/// The URL without options, which are the bus's own.
#[cfg(any(feature = "redis", feature = "nats", feature = "kafka"))]
fn address(url: &BusUrl) -> String {
    let encode =
        |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
    let credentials = match (url.user(), url.password()) {
        (None, None) => String::new(),
        (user, password) => format!(
            "{}:{}@",
            encode(user.unwrap_or_default()),
            encode(password.map_or("", bus::Secret::expose))
        ),
    };
    let hosts: Vec<String> = url.hosts().iter().map(ToString::to_string).collect();
    format!(
        "{}://{credentials}{}/{}",
        url.scheme(),
        hosts.join(","),
        url.path()
    )
}
