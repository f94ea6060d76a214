//! The client layer against a scripted adapter.

mod batch;
mod connect;
mod dead;
mod fake;
mod life;
mod publish;
mod publisher;
mod random;
mod request;
