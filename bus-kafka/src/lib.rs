//! The bus over Kafka: one Kafka topic per root token, one consumer group per durable subscription.
//!
//! Brokers from 3.7 on, without ZooKeeper. What Kafka has not, the bus keeps in the metadata of commits: acks
//! in any order, attempts, delays. `docs/wire/kafka.md` describes every topic, header and commit.

mod admin;
mod broadcast;
mod bus;
mod config;
mod coordinators;
mod core;
mod dead_letters;
mod depth;
mod ending;
mod error;
mod flow;
mod gather;
mod health;
mod interest;
mod limits;
mod link;
mod login;
mod member;
mod names;
mod producer;
mod publish;
mod rebalance;
mod registry;
mod request;
mod respond;
mod retention;
mod scan;
mod settle;
mod start;
mod subscribe;
mod sys;
mod thread;
mod tickets;
mod tls;
mod topics;
mod wire;

pub use bus::{KafkaBus, open};
pub use config::Config;
pub use login::{Login, Mechanism, Token, TokenSource};
