//! Publishing: everything is on its way at once, in the order of the calls.

use std::sync::Arc;

use bus_api::{Message, Published, Result};

use crate::api::pub_ack;
use crate::core::Core;
use crate::error::{closed, too_large, unavailable};
use crate::link::{Lost, Slot};
use crate::retention;

/// About what the attributes of a message take at the server.
const ATTRIBUTES: usize = 300;

/// Sends a batch; when this has returned, every message has its place.
fn send(core: &Core, batch: &[Arc<Message>]) -> Vec<Result<Slot>> {
    batch
        .iter()
        .map(|message| match message.payload.len() {
            bytes if bytes > core.max_payload => Err(too_large(bytes, core.max_payload)),
            _ => Ok(core.link.publish(Arc::clone(message))),
        })
        .collect()
}

/// Stores messages; one result each.
pub(crate) async fn publish(core: &Arc<Core>, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
    if core.life.is_over() {
        return vec![Err(closed()); batch.len()];
    }
    if !core.streams.is_ready() {
        // Sent again by the core of the bus, in order; here others might pass while it waits.
        let failed = core.ready().await.err().unwrap_or_else(unavailable);
        return vec![Err(failed); batch.len()];
    }
    if retention::makes_room(core) {
        return with_room(core, batch).await;
    }
    let slots = send(core, &batch);
    confirm_all(core, slots).await
}

/// One batch after the other, each after there is room for it.
async fn with_room(core: &Arc<Core>, batch: Vec<Arc<Message>>) -> Vec<Result<Published>> {
    let _turn = core.turn.lock().await;
    let bytes: usize = batch.iter().map(|message| message.size()).sum();
    // Attributes count as well; a little too much room does no harm.
    let bytes = bytes + batch.len() * ATTRIBUTES;
    if let Err(failed) = retention::make_room(core, batch.len() as u64, bytes as u64).await {
        return vec![Err(failed); batch.len()];
    }
    let slots = send(core, &batch);
    confirm_all(core, slots).await
}

async fn confirm_all(core: &Arc<Core>, slots: Vec<Result<Slot>>) -> Vec<Result<Published>> {
    let mut results = Vec::with_capacity(slots.len());
    for slot in slots {
        results.push(match slot {
            Ok(slot) => confirm(core, slot).await,
            Err(refused) => Err(refused),
        });
    }
    results
}

async fn confirm(core: &Arc<Core>, slot: Slot) -> Result<Published> {
    match slot.answer(core.config.settings.publish_timeout).await {
        Ok(answer) => {
            let ack = pub_ack(&answer.payload)?;
            Ok(Published {
                // The server tells the sequence but not the time, and a position has both.
                position: None,
                stored_at: None,
                duplicate: ack.duplicate,
            })
        }
        Err(Lost::NoResponders) => {
            core.streams.doubt();
            Err(unavailable())
        }
        Err(lost) => Err(lost.error()),
    }
}
