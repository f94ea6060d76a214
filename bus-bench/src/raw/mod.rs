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
pub(crate) async fn sides(url: &str) -> Result<Vec<Box<dyn Side>>> {
    // Options are the bus's own.
    let address = url.split('?').next().unwrap_or(url);
    Ok(match address.split(':').next() {
        Some("memory") => vec![Box::new(memory::Broadcast), Box::new(memory::Mpsc)],
        #[cfg(feature = "redis")]
        Some("redis" | "rediss" | "valkey") => vec![
            Box::new(redis::Redis::connect(address, Use::Best).await?),
            Box::new(redis::Redis::connect(address, Use::Plain).await?),
        ],
        #[cfg(feature = "nats")]
        Some("nats" | "tls") => vec![
            Box::new(nats::Nats::connect(address, Use::Best).await?),
            Box::new(nats::Nats::connect(address, Use::Plain).await?),
        ],
        #[cfg(feature = "kafka")]
        Some("kafka") => vec![
            Box::new(kafka::Kafka::connect(address, Use::Best).await?),
            Box::new(kafka::Kafka::connect(address, Use::Plain).await?),
        ],
        _ => Vec::new(),
    })
}
