//! Threads of the adapter's own: clients of librdkafka have to be polled, and polling blocks.

use std::thread::{Builder, JoinHandle};

use bus_api::{ErrorKind, Result};

use crate::error::error;

/// Runs `work` on a thread of its own.
///
/// # Errors
/// `Internal` when the operating system has none left.
pub(crate) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    Builder::new()
        .name(format!("bus-kafka-{name}"))
        .spawn(work)
        .map_err(|native| error(ErrorKind::Internal, "no thread can be started").caused_by(native))
}
