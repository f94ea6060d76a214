//! What the conformance suite needs to know of each transport in order to test it, and real brokers on
//! demand.

#[cfg(feature = "brokers")]
pub mod brokers;
mod memory;
#[cfg(feature = "redis")]
mod redis;

pub use memory::MemoryFactory;
#[cfg(feature = "redis")]
pub use redis::RedisFactory;
