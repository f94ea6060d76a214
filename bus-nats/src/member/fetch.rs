//! What came, with what is recorded of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::{Message, Subject};
use bus_api::{Delivery, Receipt};
use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use super::{Driver, Stop, Turn};
use crate::core::Core;
use crate::link::{Line, Slot};
use crate::settle::{DUE, RELEASED, certain};
use crate::shared::Fetched;
use crate::stored::{self, Stored};
use crate::wire::{self, Place};

/// What is recorded of a message.
#[derive(Debug, Default)]
struct Recorded {
    record: Option<Bytes>,
    at: Option<u64>,
    /// Up to this hand-over it was handed back, started by a handler before or not.
    released: Option<(u32, bool)>,
    /// When its rest ends.
    due: Option<SystemTime>,
}

impl Recorded {
    fn of(stored: &Stored) -> Self {
        let payload = stored.payload();
        let mut recorded = Self {
            record: (!payload.is_empty()).then_some(payload),
            at: Some(stored.seq),
            ..Self::default()
        };
        for (name, value) in stored::headers(&stored.header_block()) {
            let Ok(text) = std::str::from_utf8(&value) else {
                continue;
            };
            if name == RELEASED {
                recorded.released = text
                    .split_once(' ')
                    .and_then(|(count, before)| Some((count.parse().ok()?, before == "1")));
            } else if name == DUE {
                recorded.due = text.parse().ok().and_then(|millis| {
                    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))
                });
            }
        }
        recorded
    }

    /// Whether a handler may have started hand-over `count` before.
    fn redelivered(&self, count: u32) -> bool {
        match self.released {
            Some((released, before)) if released.checked_add(1) == Some(count) => before,
            _ => count > 1,
        }
    }

    fn not_before(&self) -> Option<Instant> {
        let rest = self.due?.duration_since(SystemTime::now()).ok()?;
        Instant::now().checked_add(rest)
    }
}

/// A message on its way in, while its record is looked up.
struct Arriving {
    message: Message,
    ack: Subject,
    place: Place,
    record: Option<Slot>,
    until: Instant,
}

impl Driver {
    /// Takes up messages of the consumer.
    pub(super) async fn fetched(&mut self, messages: Vec<Message>) -> Turn<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let handle = Arc::clone(&self.handle);
        let core = &handle.core;
        let log = core.log().await?;
        let until = Instant::now() + certain(handle.lease);
        let mut arriving = Vec::with_capacity(messages.len());
        for message in messages {
            let Some(ack) = message.reply.clone() else {
                continue;
            };
            let Some(place) = Place::of(&ack) else {
                continue;
            };
            // The first hand-over has no record.
            let record = (place.count > 1).then(|| self.look_up(place.sequence));
            arriving.push(Arriving {
                message,
                ack,
                place,
                record,
                until,
            });
        }
        let mut fetched = Vec::with_capacity(arriving.len());
        for one in arriving {
            let recorded = match one.record {
                None => Recorded::default(),
                Some(slot) => match found(core, slot).await {
                    Ok(recorded) => recorded,
                    Err(error) => {
                        // It comes again when its lease ends.
                        tracing::debug!(%error, "a record cannot be read");
                        continue;
                    }
                },
            };
            let position = one.place.position(&log);
            let decoded = wire::read(
                &core.keys,
                &one.message.subject,
                &position,
                wire::pairs(one.message.headers.as_ref()),
                one.message.payload.clone(),
            )
            .map_err(Stop::End)?;
            let delivery = Delivery {
                receipt: Receipt { slot: 0, epoch: 0 },
                message: Arc::new(decoded.message),
                position,
                delivery: one.place.count,
                redelivered: recorded.redelivered(one.place.count),
                not_before: recorded.not_before(),
                record: recorded.record,
                malformed: decoded.malformed,
            };
            fetched.push(Fetched {
                delivery,
                ack: one.ack,
                record_at: recorded.at,
                until: one.until,
            });
        }
        handle.shared.push(fetched, handle.ordered);
        Ok(())
    }

    fn look_up(&self, sequence: u64) -> Slot {
        let question = json!({"last_by_subj": self.handle.record_subject(sequence)});
        let core = &self.handle.core;
        core.get_later(&core.keys.books(), &question)
    }

    /// Looks among what the server has handed to this subscription for messages that the client library
    /// cannot read, and takes them up by another way: as damaged ones. What came with them comes again.
    pub(super) async fn salvage(&mut self) -> Turn<()> {
        let handle = Arc::clone(&self.handle);
        let core = &handle.core;
        let record = handle.record();
        let (stream, consumer) = (core.keys.data(), record.consumer(&handle.sub));
        let Some(info) = core.consumer_info(&stream, &consumer).await? else {
            return Ok(());
        };
        let log = core.log().await?;
        let filter = core.keys.pattern(&handle.id.pattern);
        let from = info.ack_floor.stream_seq + 1;
        // The subjects that settle these were lost with them: the server takes made ones as well.
        let made = |sequence: u64| {
            let hand_over = info.delivered.consumer_seq;
            format!("$JS.ACK.{stream}.{consumer}.1.{sequence}.{hand_over}.0.0")
        };
        let members = core.members(&handle.sub).await?;
        let alone = members.iter().filter(|(_, live)| *live).count() <= 1;
        let mut fetched = Vec::new();
        for stored in pending(core, &filter, from, info.delivered.stream_seq).await? {
            if handle.shared.holds(stored.seq) {
                continue;
            }
            let slot = self.look_up(stored.seq);
            let recorded = found(core, slot).await?;
            if stored::unreadable(&stored.header_block()).is_none() {
                // It came with a damaged one; nobody else can have it, and it does not wait for its time.
                if alone && recorded.at.is_none() && !handle.shared.rests(stored.seq) {
                    let again = Bytes::from_static(b"-NAK");
                    drop(core.link.send(Line::Control, made(stored.seq), None, again));
                }
                continue;
            }
            let mut delivery = damaged(core, &log, &stored).map_err(Stop::End)?;
            delivery.redelivered = recorded.record.is_some();
            delivery.record = recorded.record;
            fetched.push(Fetched {
                delivery,
                ack: made(stored.seq).into(),
                record_at: recorded.at,
                until: Instant::now() + certain(handle.lease),
            });
        }
        handle.shared.push(fetched, handle.ordered);
        Ok(())
    }
}

async fn found(core: &Core, slot: Slot) -> bus_api::Result<Recorded> {
    let stored = Core::got(slot.answer(core.patience()).await)?;
    Ok(stored.as_ref().map(Recorded::of).unwrap_or_default())
}

/// Most messages looked through after a break.
const LOOKED_THROUGH: usize = 2_000;

/// The messages of the log between two places, read in a way that nothing can break.
pub(crate) async fn pending(
    core: &Core,
    filter: &str,
    from: u64,
    to: u64,
) -> bus_api::Result<Vec<Stored>> {
    let mut found = Vec::new();
    let mut next = from;
    while next <= to && found.len() < LOOKED_THROUGH {
        let question = json!({"seq": next, "next_by_subj": filter});
        let Some(stored) = core.get(&core.keys.data(), &question).await? else {
            break;
        };
        if stored.seq > to {
            break;
        }
        next = stored.seq + 1;
        found.push(stored);
    }
    Ok(found)
}

/// A delivery of a message that the client library cannot read.
pub(crate) fn damaged(core: &Core, log: &Arc<str>, stored: &Stored) -> bus_api::Result<Delivery> {
    let block = stored.header_block();
    let place = Place {
        count: 1,
        sequence: stored.seq,
        hand_over: 0,
        stored_at: stored.stored_at(),
    };
    let position = place.position(log);
    let pairs = stored::headers(&block);
    let pairs = pairs.iter().map(|(name, value)| (&name[..], &value[..]));
    let decoded = wire::read(
        &core.keys,
        &stored.subject,
        &position,
        pairs,
        stored.payload(),
    )?;
    let why = stored::unreadable(&block).unwrap_or("it cannot be read");
    Ok(Delivery {
        receipt: Receipt { slot: 0, epoch: 0 },
        message: Arc::new(decoded.message),
        position,
        delivery: 1,
        redelivered: false,
        not_before: None,
        record: None,
        malformed: Some(decoded.malformed.unwrap_or_else(|| why.into())),
    })
}
