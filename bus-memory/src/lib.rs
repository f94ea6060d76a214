#![doc = include_str!("../README.md")]

mod admin;
mod broker;
mod bus;
mod clock;
mod config;
mod connection;
mod dead_letters;
mod dedup;
mod error;
mod faults;
mod key_locks;
mod log;
mod observe;
mod publish;
mod request;
mod responders;
mod retention;
mod settle;
mod slab;
mod slot;
mod space;
mod state;
mod store;
mod subscribe;
mod subscription;
mod timers;

pub use broker::Broker;
pub use bus::{MemoryBus, open};
pub use config::Config;
pub use faults::Foreign;
pub use observe::StoredMessage;
