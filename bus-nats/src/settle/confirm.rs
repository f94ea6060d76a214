//! Waiting until the server has confirmed, telling it again after every break.

use std::sync::Arc;
use std::time::Duration;

use bus_api::{Receipt, Result};
use bytes::Bytes;
use tokio::time::Instant;

use super::Told;
use super::entry::Entry;
use crate::api::pub_ack;
use crate::error::{UNDECIDED, WRONG_LAST_SEQUENCE, closed, fenced, is_refusal};
use crate::held::Held;
use crate::link::{Lost, Slot};
use crate::ours::Confirmed;
use crate::subscribe::Handle;

/// How long the server may take for one answer before it is asked again.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long to wait before asking again where nobody took the question.
const REST: Duration = Duration::from_millis(50);

/// Waits until an entry is stored, sending it again after every break. Says where it lies, when that is known.
pub(super) async fn store(
    handle: &Arc<Handle>,
    receipt: Receipt,
    entry: &Entry,
    mut slot: Slot,
) -> Result<Option<u64>> {
    loop {
        match slot.answer(PATIENCE).await {
            Ok(answer) => match pub_ack(&answer.payload) {
                Ok(ack) => return Ok(Some(ack.seq)),
                // The same dead letter, written before: its id says that it is this one.
                Err(refused) if is_refusal(&refused, WRONG_LAST_SEQUENCE) => return Ok(None),
                // It is being written, perhaps by an earlier try.
                Err(refused) if is_refusal(&refused, UNDECIDED) => tokio::time::sleep(REST).await,
                Err(refused) => return Err(refused),
            },
            Err(Lost::NoResponders) => {
                handle.core.streams.doubt();
                if let Err(failed) = handle.core.ready().await
                    && !failed.is_retryable()
                {
                    return Err(failed);
                }
                tokio::time::sleep(REST).await;
            }
            Err(lost) => passes(lost)?,
        }
        again(handle, receipt).await?;
        slot = handle.send(entry);
    }
}

/// Waits until the server has confirmed a settlement, telling it again after every break.
pub(super) async fn confirm(
    handle: &Arc<Handle>,
    receipt: Receipt,
    order: &Bytes,
    mut told: Told,
) -> Result<Confirmed> {
    loop {
        let (epoch, run) = (told.epoch, told.run);
        match told.slot.answer(PATIENCE).await {
            // What is held now may be known to another run than the one that has answered.
            Ok(_) if is_ours(handle, receipt) => {
                let at = Instant::now();
                return Ok(Confirmed { run, epoch, at });
            }
            Ok(_) => return Err(fenced()),
            // The consumer is gone, or its leader is being elected: the driver finds out.
            Err(Lost::NoResponders) => {
                handle.doubt();
                tokio::time::sleep(REST).await;
            }
            Err(lost) => passes(lost)?,
        }
        let held = recalled(handle, receipt).await?;
        told = handle.tell(&held, order.clone());
    }
}

/// An answer that came when the lease had ended says nothing: another member may have got the message before.
fn is_ours(handle: &Handle, receipt: Receipt) -> bool {
    let until = handle.shared.held_until(receipt);
    until.is_some_and(|until| until > Instant::now())
}

/// Whether asking again may help.
fn passes(lost: Lost) -> Result<()> {
    match lost {
        Lost::Unsent | Lost::Unanswered | Lost::NoResponders => Ok(()),
        Lost::Closed => Err(closed()),
        other => Err(other.error()),
    }
}

/// Waits until the server is reached, as long as the delivery is this member's.
async fn again(handle: &Handle, receipt: Receipt) -> Result<()> {
    loop {
        handle.core.usable()?;
        let held = handle.shared.held(receipt).ok_or_else(fenced)?;
        if held.until <= Instant::now() || !handle.is_active() {
            return Err(fenced());
        }
        // In steps, because it may be lost meanwhile.
        let step = held.until.min(Instant::now() + PATIENCE);
        if handle.core.link.socket.until_up(step).await.is_ok() {
            if handle.reaches(held.run.as_deref()) {
                return Ok(());
            }
            // The driver finds out what the server still knows.
            tokio::time::sleep(REST).await;
        }
    }
}

/// What is held, once the server is known to know it.
pub(super) async fn recalled(handle: &Handle, receipt: Receipt) -> Result<Held> {
    again(handle, receipt).await?;
    handle.shared.held(receipt).ok_or_else(fenced)
}
