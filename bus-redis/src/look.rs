//! Looking into the list of requests.

use std::sync::Arc;
use std::time::Duration;

use bus_api::{IncomingRequest, ReplyTo, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use redis::Value;
use tokio::time::Instant;

use crate::error::senseless;
use crate::request::{REPLY_TO, message, unpack};
use crate::respond::Responder;
use crate::value::Take;

const WHAT: &str = "taking requests";
/// Looks on their way at the same time: the server goes on with the next one by itself, so that a request does not
/// cost another command and its round trip.
const AHEAD: usize = 8;
/// How long one look waits.
const BLOCK: Duration = Duration::from_millis(250);
/// How long the last one waits.
pub(crate) const LONGEST: Duration = Duration::from_secs(2);

/// The looks of a responder that are on their way.
pub(crate) struct Looks {
    responder: Arc<Responder>,
    flying: FuturesUnordered<BoxFuture<'static, (usize, Result<()>)>>,
    /// The requests that they may take.
    promised: usize,
}

impl Looks {
    pub(crate) fn new(responder: &Arc<Responder>) -> Self {
        Self {
            responder: Arc::clone(responder),
            flying: FuturesUnordered::new(),
            promised: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.flying.is_empty()
    }

    /// Looks for as many requests as there is room for, several times when few looks are left.
    pub(crate) fn go_on(&mut self) {
        let flying = self.flying.len();
        if flying > AHEAD / 2 {
            return;
        }
        let mut room = self.responder.room().saturating_sub(self.promised);
        for left in (1..=AHEAD - flying).rev() {
            let count = room.div_ceil(left);
            if count == 0 {
                break;
            }
            room -= count;
            self.promised += count;
            let responder = Arc::clone(&self.responder);
            self.flying.push(Box::pin(
                async move { (count, pop(&responder, count).await) },
            ));
        }
    }

    /// Waits for the next look to end; `None` when there is none.
    pub(crate) async fn next(&mut self) -> Option<Result<()>> {
        let (count, looked) = self.flying.next().await?;
        self.promised -= count;
        Some(looked)
    }
}

async fn pop(responder: &Responder, count: usize) -> Result<()> {
    let command = redis::cmd("BLMPOP")
        .arg(BLOCK.as_secs_f64())
        .arg(1)
        .arg(&responder.list)
        .arg("LEFT")
        .arg("COUNT")
        .arg(count)
        .take();
    let mut parts = match responder.link.run(&command).await? {
        Value::Nil => return Ok(()),
        reply => reply.array(WHAT)?.into_iter(),
    };
    let items = parts.nth(1).ok_or_else(|| senseless(WHAT))?.array(WHAT)?;
    for item in items {
        let item = item.bytes(WHAT)?;
        match read(responder, &item) {
            Ok(Some(request)) => responder.take_up(request),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a request cannot be read"),
        }
    }
    Ok(())
}

/// The deadline, a space, the record; `None` for one that is too late.
fn read(responder: &Responder, item: &Bytes) -> Result<Option<IncomingRequest>> {
    let space = item
        .iter()
        .position(|byte| *byte == b' ')
        .ok_or_else(|| senseless(WHAT))?;
    let deadline = std::str::from_utf8(&item[..space])
        .ok()
        .and_then(|text| text.parse().ok())
        .and_then(|millis| responder.instant(millis))
        .ok_or_else(|| senseless(WHAT))?;
    if deadline <= Instant::now() {
        return Ok(None);
    }
    let mut fields = unpack(&item.slice(space + 1..))?;
    let reply_to = fields
        .iter()
        .position(|(name, _)| name == REPLY_TO)
        .map(|index| fields.swap_remove(index).1)
        .unwrap_or_default();
    Ok(Some(IncomingRequest {
        message: Arc::new(message(&fields)?),
        deadline,
        reply_to: ReplyTo::new(String::from_utf8_lossy(&reply_to)),
    }))
}
