//! What is stored before the server is told, and what it is told.

use std::time::Duration;

use async_nats::HeaderMap;
use bus_api::{AttemptRecord, DeadLetter, Result, Settlement};
use bytes::Bytes;
use tokio::time::Instant;

use super::Step;
use crate::dead_letters;
use crate::held::Held;
use crate::subscribe::Handle;
use crate::wire::put;

/// The header of a record whose message was handed back: up to which hand-over, and whether a handler may
/// have started it before that.
pub(crate) const RELEASED: &str = "bus-released";
/// The header of a record whose message rests: until when, in milliseconds since 1970.
pub(crate) const DUE: &str = "bus-due";

/// Something to store before the server is told.
pub(super) struct Entry {
    pub(super) subject: String,
    pub(super) headers: Option<HeaderMap>,
    pub(super) payload: Bytes,
    /// What has to be stored before this.
    pub(super) parts: Vec<Self>,
}

/// What has to be stored before the server is told.
pub(super) fn entry(handle: &Handle, held: &Held, step: &Step) -> Result<Option<Entry>> {
    let record = |record: Option<Bytes>, released: bool, due: Option<Duration>| {
        let mut headers = HeaderMap::new();
        if released {
            let text = format!("{} {}", held.count, u8::from(held.redelivered));
            put(&mut headers, RELEASED, &text)?;
        }
        if let Some(due) = due {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            put(&mut headers, DUE, &(now + due).as_millis().to_string())?;
        }
        Ok(Some(Entry {
            subject: handle.record_subject(held.sequence),
            headers: (!headers.is_empty()).then_some(headers),
            payload: record.unwrap_or_default(),
            parts: Vec::new(),
        }))
    };
    match step {
        Step::Mark(mark) => record(Some(mark.encode()), false, None),
        Step::Settle(Settlement::Ack) => Ok(None),
        Step::Settle(Settlement::Requeue { after, record: new }) => {
            let rests = handle.ordered && !after.is_zero();
            match new {
                Some(new) => record(Some(new.encode()), false, rests.then_some(*after)),
                None if rests => record(held.record.clone(), false, Some(*after)),
                None => Ok(None),
            }
        }
        Step::Settle(Settlement::Release) => {
            let started = unstarted(held);
            let rest = held
                .delivery
                .as_ref()
                .and_then(|delivery| delivery.not_before)
                .map(|due| due.saturating_duration_since(Instant::now()))
                .filter(|rest| !rest.is_zero());
            // What stays in the member needs no note for another one.
            let goes = !handle.stays();
            if (held.redelivered || !goes) && started.is_none() && rest.is_none() {
                return Ok(None);
            }
            let stored = started
                .map(|record| record.encode())
                .or_else(|| held.record.clone());
            record(stored, goes, rest)
        }
        Step::Settle(Settlement::DeadLetter(dead)) => dead_entry(handle, dead).map(Some),
    }
}

fn dead_entry(handle: &Handle, dead: &DeadLetter) -> Result<Entry> {
    let keys = &handle.core.keys;
    let subject = keys.dead_letter(&dead.subscription.group, dead.id);
    let written = dead_letters::write(keys, &subject, dead, handle.core.link.most())?;
    let part = |(subject, payload)| Entry {
        subject,
        headers: None,
        payload,
        parts: Vec::new(),
    };
    Ok(Entry {
        subject,
        headers: Some(written.headers),
        payload: written.payload,
        parts: written.parts.into_iter().map(part).collect(),
    })
}

/// What the server is told in the end.
pub(super) fn order(handle: &Handle, step: &Step) -> Option<Bytes> {
    match step {
        Step::Mark(_) => None,
        Step::Settle(Settlement::Ack | Settlement::DeadLetter(_)) => {
            Some(Bytes::from_static(b"+ACK"))
        }
        // It stays in the member, and so does its lease.
        Step::Settle(Settlement::Requeue { .. } | Settlement::Release) if handle.stays() => None,
        Step::Settle(Settlement::Requeue { after, .. }) if !after.is_zero() && !handle.ordered => {
            let delay = crate::api::nanos(*after);
            Some(format!("-NAK {{\"delay\":{delay}}}").into())
        }
        Step::Settle(Settlement::Requeue { .. } | Settlement::Release) => {
            Some(Bytes::from_static(b"-NAK"))
        }
    }
}

/// The record without its started-mark, when it has one.
pub(super) fn unstarted(held: &Held) -> Option<AttemptRecord> {
    let record = AttemptRecord::decode(held.record.as_ref().filter(|r| !r.is_empty())?).ok()?;
    record.started.then_some(AttemptRecord {
        started: false,
        ..record
    })
}
