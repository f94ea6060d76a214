//! Closing a connection.

use tokio::time::{Instant, timeout_at};

use super::core::Core;
use super::life::Stage;
use crate::error::{Error, ErrorKind, Result};

/// Drains and closes, in this order: participants (their handlers can still publish), outstanding
/// publishes, the adapter.
pub(super) async fn close(core: &Core, deadline: Instant) -> Result<()> {
    core.life.advance(Stage::Draining);
    let participants = timeout_at(deadline, core.life.deserted()).await;
    core.life.advance(Stage::Closed);
    let publishes = timeout_at(deadline, core.window.emptied()).await;
    let (outstanding, _) = core.window.used();
    let closed = core.bus.close(deadline).await;
    if participants.is_err() {
        let left = core.life.participants();
        return Err(late(&format!("{left} participants were still draining")));
    }
    if publishes.is_err() {
        return Err(late(&format!("{outstanding} publishes had no outcome")));
    }
    closed
}

fn late(what: &str) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("the bus is closed, but at the deadline {what}"),
    )
    .retryable(false)
}
