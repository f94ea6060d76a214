//! The bus over Redis Streams: one stream per topic, found by a registry.
//!
//! Nothing but the standard data types of Redis 7 or later is used; what has to be atomic is a server-side
//! script that touches keys of one hash tag only. `docs/wire/redis.md` describes every key,
//! `docs/transports/redis.md` URLs, settings, rights and pitfalls.

mod address;
mod admin;
mod broadcast;
mod bus;
mod config;
mod core;
mod dead_letters;
mod endpoint;
mod error;
mod health;
mod hints;
mod keys;
mod link;
mod look;
mod member;
mod publish;
mod registry;
mod request;
mod respond;
mod responders;
mod retention;
mod script;
mod settle;
mod shared;
mod start;
mod subscribe;
mod tls;
mod value;
mod wire;

pub use address::{Address, Sentinels};
pub use bus::{RedisBus, open};
pub use config::Config;
