//! What the conformance suite needs to know of each transport in order to test it, and real brokers on
//! demand.

#[cfg(feature = "brokers")]
pub mod brokers;
#[cfg(any(feature = "kafka", feature = "nats", feature = "redis"))]
pub mod certificates;
#[cfg(feature = "faults")]
pub mod faults;
#[cfg(feature = "kafka")]
pub mod kafka;
mod memory;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "kafka", feature = "nats", feature = "redis"))]
mod shared_broker;
#[cfg(feature = "brokers")]
mod suite;
#[cfg(feature = "brokers")]
pub mod trip;
#[cfg(any(feature = "kafka", feature = "nats", feature = "redis"))]
mod wire;

#[cfg(feature = "kafka")]
pub use kafka::KafkaFactory;
pub use memory::MemoryFactory;
#[cfg(feature = "nats")]
pub use nats::NatsFactory;
#[cfg(feature = "redis")]
pub use redis::RedisFactory;
#[cfg(feature = "brokers")]
pub use suite::main;
