//! The client layer against a scripted adapter.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod batch;
mod connect;
mod dead;
mod fake;
mod life;
mod publish;
mod publisher;
mod random;
mod request;
