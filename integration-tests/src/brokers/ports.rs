//! Free ports of this machine.

use std::collections::HashSet;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Result, bail};

/// Below the ports that the kernel gives to outgoing connections: while a broker is down, one of its own
/// clients could get its port, and even connect to itself.
const RANGE: Range<u16> = 10_000..32_000;

/// Ports that this process has given out; they may not be bound yet.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port that nobody listens on.
///
/// # Errors
/// The kernel has none.
pub fn free() -> Result<u16> {
    for _ in 0..1_000 {
        let port = fastrand::u16(RANGE);
        let free = TcpListener::bind(("0.0.0.0", port)).is_ok();
        if free
            && GIVEN
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(port)
        {
            return Ok(port);
        }
    }
    bail!("no free port in {RANGE:?}")
}
