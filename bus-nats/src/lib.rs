//! The bus over NATS JetStream: one stream of messages per namespace, one of dead letters, one of bookkeeping.
//!
//! nats-server 2.10 or later. `docs/wire/nats.md` describes every stream, subject and consumer.

mod admin;
mod api;
mod broadcast;
mod bus;
mod by_number;
mod changes;
mod clock;
mod config;
mod core;
mod dead_letters;
mod digits;
mod error;
mod health;
mod held;
mod keys;
mod last_topic;
mod link;
mod member;
mod ours;
mod outgoing;
mod oversize;
mod presence;
mod publish;
mod pull;
mod reading;
mod registry;
mod removal;
mod request;
mod respond;
mod retention;
mod runs;
mod settle;
mod shared;
mod slots;
mod socket;
mod start;
mod stored;
mod stream;
mod subscribe;
mod template;
mod tls;
mod unanswered;
mod wire;

pub use bus::{NatsBus, open};
pub use config::{Config, Login, Storage};
pub use tls::Tls;
