//! The copy that a redrive publishes.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::contract::{DeadLetter, DeadLetterId, Message, Targeted};

/// The copy for one subscription: same topic, id, key, headers and payload; the attempts start anew.
pub(super) fn copy(entry: DeadLetter, dedup_id: Option<Box<str>>) -> Message {
    let targeted = Targeted {
        subscription: entry.subscription,
        origin: entry.origin,
        generation: entry.generation.saturating_add(1),
        not_before: None,
        record: None,
    };
    let mut copy = Arc::unwrap_or_clone(entry.message);
    copy.dedup_id = dedup_id;
    copy.targeted = Some(Box::new(targeted));
    copy
}

/// The id of the entry that the copy becomes if it fails again.
pub(super) fn id_of_a_repeated_failure(entry: &DeadLetter) -> DeadLetterId {
    DeadLetterId::derive(
        &entry.subscription,
        entry.message.topic.as_str(),
        &entry.message.metadata.id,
        &entry.origin,
        entry.generation.saturating_add(1),
    )
}

/// The dedup id of an unchanged copy: the same however often the entry is redriven.
pub(super) fn unchanged_dedup_id(entry: &DeadLetter) -> String {
    format!("redrive-{}", entry.id)
}

/// The dedup id of an edited copy: one edit never falls on the copy of another one.
pub(super) fn edited_dedup_id(entry: &DeadLetter) -> String {
    let digest = Sha256::digest(&entry.message.payload);
    format!("redrive-{}-{}", entry.id, hex::encode(&digest[..8]))
}
