//! The messaging contract and the layer that is written once on top of it.

mod client;
pub mod clock;
mod connect;
mod contract;
mod error;
mod event;
pub mod ids;
mod member;
pub mod telemetry;
mod worker;

pub use client::{BusClient, Confirmed, Direct, Publish};
pub use connect::{BusUrl, HostPort, Options, Provision, Secret, Settings};
pub use contract::*;
pub use error::{Error, ErrorKind, Result};
pub use event::*;
pub use telemetry::TraceHook;
pub use worker::*;
