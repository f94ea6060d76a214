//! The mark of a copy for one subscription.

use serde::{Deserialize, Serialize};

use super::time;
use crate::contract::{AttemptRecord, Group, Origin, Pattern, SubscriptionId, Targeted};
use crate::error::{Error, ErrorKind, Result};

/// The newest version that this release reads, and the one that it writes.
const VERSION: u8 = 1;

/// Read first, on its own: a newer version may look different otherwise.
#[derive(Deserialize)]
struct Version {
    v: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u8,
    group: String,
    pattern: String,
    position: String,
    stored_at: String,
    generation: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
}

pub(super) fn write(targeted: &Targeted) -> String {
    let stored = Stored {
        v: VERSION,
        group: targeted.subscription.group.to_string(),
        pattern: targeted.subscription.pattern.to_string(),
        position: targeted.origin.position.to_string(),
        stored_at: time::write(targeted.origin.stored_at),
        generation: targeted.generation,
        not_before: targeted.not_before.map(time::write),
        record: targeted.record.map(|record| hex::encode(record.encode())),
    };
    serde_json::to_string(&stored).unwrap_or_default()
}

/// `Ok(None)`: damaged. A newer version, of the mark or of the record in it, is `Unsupported`.
pub(super) fn read(text: &str) -> Result<Option<Targeted>> {
    match serde_json::from_str::<Version>(text) {
        Ok(Version { v }) if v > u64::from(VERSION) => {
            let text = format!(
                "a targeted copy has format version {v}; this release reads up to {VERSION}, upgrade it"
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        Ok(_) => {}
        Err(_) => return Ok(None),
    }
    let Ok(stored) = serde_json::from_str::<Stored>(text) else {
        return Ok(None);
    };
    let record = stored.record.as_deref().map(hex::decode);
    let record = match record.transpose() {
        Ok(record) => record.map(|record| AttemptRecord::decode(&record)),
        Err(_) => return Ok(None),
    };
    let record = match record.transpose() {
        Err(error) if error.kind() != ErrorKind::Unsupported => return Ok(None),
        record => record?,
    };
    Ok(targeted(&stored, record))
}

fn targeted(stored: &Stored, record: Option<AttemptRecord>) -> Option<Targeted> {
    let not_before = match &stored.not_before {
        Some(text) => Some(time::read(text)?),
        None => None,
    };
    Some(Targeted {
        subscription: SubscriptionId::new(
            Group::new(&stored.group).ok()?,
            Pattern::new(&stored.pattern).ok()?,
        ),
        origin: Origin {
            position: stored.position.parse().ok()?,
            stored_at: time::read(&stored.stored_at)?,
        },
        generation: stored.generation,
        not_before,
        record,
    })
}
