//! Workers over the bus in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod batches;
mod breaker;
mod causes;
mod dispatch;
mod draining;
mod flow;
mod layers;
mod logs;
mod options;
mod responders;
mod settling;
mod support;
