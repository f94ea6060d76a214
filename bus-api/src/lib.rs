//! The messaging contract and the layer that is written once on top of it.

pub mod adapter;
mod client;
pub mod clock;
pub mod cloudevents;
mod connect;
mod contract;
mod dead;
mod error;
mod event;
pub mod ids;
mod member;
mod stream;
pub mod telemetry;
mod worker;

pub use client::{
    Ask, BusClient, Confirmed, Connector, Direct, Ordered, Publish, PublishBatch,
    PublishConfirmation, Publisher, RemoteFailure, Sending, Subscriptions,
};
pub use connect::{BusUrl, HostPort, Options, Provision, Secret, Settings};
pub use contract::*;
pub use dead::{
    DeadEntry, DeadLetterCounts, DeadLetterReport, DeadLetters, DeadPage, ExportedDeadLetter,
    Filter, Purge, Redrive, ShownBytes,
};
pub use error::{Error, ErrorKind, Result};
pub use event::*;
pub use stream::{AckToken, Received, Settling, Subscribe, Subscription};
pub use telemetry::TraceHook;
pub use worker::*;

#[doc(hidden)]
pub mod __private {
    pub use crate::event::private::*;
}
