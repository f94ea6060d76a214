//! What came, with what is recorded of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::{Message, Subject};
use bus_api::adapter::certain;
use bus_api::{Delivery, Receipt};
use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use super::{Driver, Stop, Turn};
use crate::api::ConsumerInfo;
use crate::core::Core;
use crate::held::Fetched;
use crate::last_topic::LastTopic;
use crate::link::{Line, Slot};
use crate::settle::{DUE, RELEASED};
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
}

impl Driver {
    /// Takes up messages of the consumer; they came after that time.
    pub(super) async fn fetched(
        &mut self,
        messages: Vec<Message>,
        came_after: Instant,
    ) -> Turn<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let handle = Arc::clone(&self.handle);
        let core = &handle.core;
        let log = core.log().await?;
        let until = came_after + certain(handle.lease);
        let run = self.of_run();
        let mut arriving = Vec::with_capacity(messages.len());
        for mut message in messages {
            let Some(ack) = message.reply.take() else {
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
                &mut self.last_topic,
                &one.message.subject,
                &position,
                wire::pairs(one.message.headers.as_ref()),
                one.message.payload,
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
                run: run.clone(),
                hand_over: one.place.hand_over,
                record_at: recorded.at,
                until,
            });
        }
        // What the server had handed over before it ended may come up behind the news of its new run.
        fetched.retain_mut(|one| handle.adopts(one));
        if !handle.ordered {
            // What was read or looked up too late may be another member's, and settled, by now. The active
            // member of an ordered subscription is the only one.
            let now = Instant::now();
            fetched.retain(|one| one.until > now);
        }
        self.arrived(fetched);
        Ok(())
    }

    fn look_up(&self, sequence: u64) -> Slot {
        let question = json!({"last_by_subj": self.handle.record_subject(sequence)});
        let core = &self.handle.core;
        core.get_later(&core.keys.books(), &question)
    }

    /// After a break: what the server has handed over and this member never saw. `broke_over_damage`: the client library
    /// may have broken the connection over a message that it cannot read.
    pub(super) async fn salvage(&mut self, broke_over_damage: bool) -> Turn<()> {
        let handle = Arc::clone(&self.handle);
        let core = &handle.core;
        let (stream, consumer) = (core.keys.data(), handle.record().consumer(&handle.sub));
        let Some(info) = core.consumer_info(&stream, &consumer).await? else {
            return Ok(());
        };
        if info.num_ack_pending == 0 {
            return Ok(());
        }
        // The subjects that settle these were lost with them: the server takes made ones as well.
        let hand_over = info.delivered.consumer_seq;
        let made = |sequence| format!("$JS.ACK.{stream}.{consumer}.1.{sequence}.{hand_over}.0.0");
        let (from, to) = (info.ack_floor.stream_seq + 1, info.delivered.stream_seq);
        if broke_over_damage {
            self.take_damaged(&info, made).await?;
        }
        if handle.ordered {
            // The active member alone has any of it, and order allows no gap.
            return Ok(self.gather(&info).await?);
        }
        let members = core.members(&handle.sub).await?;
        let others = members
            .iter()
            .any(|member| member.presence.member != handle.member && member.may_hold(handle.lease));
        if others || to.saturating_sub(from) > LOOKED_THROUGH {
            // It may be theirs: it comes again when its lease ends.
            return Ok(());
        }
        let mut next = from;
        while next <= to {
            let end = to.min(next + AT_ONCE - 1);
            let asked: Vec<(u64, Slot)> = (next..=end)
                .filter(|sequence| {
                    !handle.shared.holds(*sequence) && !handle.shared.rests(*sequence)
                })
                .map(|sequence| (sequence, self.look_up(sequence)))
                .collect();
            for (sequence, slot) in asked {
                // What has a record waits for its time.
                if found(core, slot).await?.at.is_none() {
                    let again = Bytes::from_static(b"-NAK");
                    drop(core.link.send(Line::Control, made(sequence), None, again));
                }
            }
            next = end + 1;
        }
        Ok(())
    }

    /// Takes up messages that the client library cannot read, as damaged ones.
    async fn take_damaged(
        &mut self,
        info: &ConsumerInfo,
        made: impl Fn(u64) -> String,
    ) -> Turn<()> {
        let handle = Arc::clone(&self.handle);
        let (from, to) = (info.ack_floor.stream_seq + 1, info.delivered.stream_seq);
        let hand_over = info.delivered.consumer_seq;
        let core = &handle.core;
        let log = core.log().await?;
        let filter = core.keys.pattern(&handle.id.pattern);
        let mut fetched = Vec::new();
        for stored in pending(core, &filter, from, to).await? {
            let readable = stored::unreadable(&stored.header_block()).is_none();
            if readable || handle.shared.holds(stored.seq) {
                continue;
            }
            let slot = self.look_up(stored.seq);
            let recorded = found(core, slot).await?;
            let mut delivery = damaged(core, &log, &stored).map_err(Stop::End)?;
            delivery.redelivered = recorded.record.is_some();
            delivery.record = recorded.record;
            fetched.push(Fetched {
                delivery,
                ack: made(stored.seq).into(),
                run: self.of_run(),
                hand_over,
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
const LOOKED_THROUGH: u64 = 4_096;
/// Records asked for at once.
const AT_ONCE: u64 = 256;

/// The messages of the log between two places, read in a way that nothing can break.
pub(crate) async fn pending(
    core: &Core,
    filter: &str,
    from: u64,
    to: u64,
) -> bus_api::Result<Vec<Stored>> {
    let mut found = Vec::new();
    let mut next = from;
    while next <= to && (found.len() as u64) < LOOKED_THROUGH {
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
        &mut LastTopic::default(),
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
