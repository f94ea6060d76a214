//! Dead letters: a message as usual, and one blob with everything else.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::time;
use crate::contract::{
    DeadLetter, Failure, Group, Message, Origin, Pattern, SubscriptionId, split_version,
};
use crate::error::{Error, ErrorKind, Result};

/// The newest version that this release reads, and the one that it writes.
const VERSION: u8 = 1;
const WHAT: &str = "a dead letter";

#[derive(Serialize, Deserialize)]
struct Details {
    id: String,
    group: String,
    pattern: String,
    position: String,
    stored_at: String,
    generation: u32,
    attempts: u32,
    kind: String,
    error: String,
    first_failure: String,
    last_failure: String,
}

/// Everything of a dead letter but its message: a version byte and JSON.
///
/// An adapter stores the message with [`write`](super::write) and [`Extent::Whole`](super::Extent::Whole), and
/// this beside it.
#[must_use]
pub fn dead_letter_details(entry: &DeadLetter) -> Bytes {
    let details = Details {
        id: entry.id.to_string(),
        group: entry.subscription.group.to_string(),
        pattern: entry.subscription.pattern.to_string(),
        position: entry.origin.position.to_string(),
        stored_at: time::write(entry.origin.stored_at),
        generation: entry.generation,
        attempts: entry.attempts,
        kind: entry.error.kind.to_string(),
        error: entry.error.text.to_string(),
        first_failure: time::write(entry.first_failure),
        last_failure: time::write(entry.last_failure),
    };
    let mut out = vec![VERSION];
    out.extend(serde_json::to_vec(&details).unwrap_or_default());
    out.into()
}

/// Puts a dead letter together again.
///
/// # Errors
/// `Unsupported` for a newer version, `Decode` for damaged details.
pub fn dead_letter_from(details: &[u8], message: Arc<Message>) -> Result<DeadLetter> {
    let (_, json) = split_version(details, VERSION, WHAT)?;
    let damaged = || {
        Error::new(
            ErrorKind::Decode,
            format!("the details of {WHAT} are damaged"),
        )
    };
    let details: Details = serde_json::from_slice(json).map_err(|_| damaged())?;
    from(details, message).ok_or_else(damaged)
}

fn from(details: Details, message: Arc<Message>) -> Option<DeadLetter> {
    Some(DeadLetter {
        id: details.id.parse().ok()?,
        subscription: SubscriptionId::new(
            Group::new(details.group).ok()?,
            Pattern::new(details.pattern).ok()?,
        ),
        message,
        origin: Origin {
            position: details.position.parse().ok()?,
            stored_at: time::read(&details.stored_at)?,
        },
        generation: details.generation,
        attempts: details.attempts,
        error: Failure::new(details.kind, details.error),
        first_failure: time::read(&details.first_failure)?,
        last_failure: time::read(&details.last_failure)?,
    })
}
