//! Which member of an ordered subscription is the active one: a lease, and a take-over in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus_api::{ErrorKind, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::{Driver, Turn};
use crate::api::ConsumerInfo;
use crate::held::Fetched;
use crate::link::{Line, Lost};
use crate::subscribe::Handle;

/// Messages that are asked for again at once.
const CHUNK: u64 = 1_024;

/// Who is active. Stored as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Active {
    version: u8,
    /// None after a member left in order.
    member: Option<String>,
}

/// What a member of an ordered subscription knows about who is active.
#[derive(Debug)]
pub(super) struct Standing {
    ordered: bool,
    /// How long a lease counts.
    lease: Duration,
    /// Where this member's own lease lies, while it is the active one.
    own: Option<u64>,
    /// The lease of another one, and since when it has been the same.
    other: Option<(u64, Instant)>,
    look_at: Instant,
}

impl Standing {
    pub(super) fn new(handle: &Handle) -> Self {
        Self {
            ordered: handle.ordered,
            lease: handle
                .lease
                .clamp(Duration::from_millis(300), Duration::from_secs(10)),
            own: None,
            other: None,
            look_at: Instant::now(),
        }
    }

    pub(super) fn may_fetch(&self) -> bool {
        !self.ordered || self.own.is_some()
    }

    /// A pull of an active member is gone before its lease can be another's.
    pub(super) fn expires(&self, usual: Duration) -> Duration {
        if self.ordered {
            (self.lease / 2).min(usual)
        } else {
            usual
        }
    }

    pub(super) fn next_duty(&self, handle: &Handle) -> Instant {
        if self.ordered {
            self.look_at
        } else {
            Instant::now() + handle.lease.max(Duration::from_secs(1))
        }
    }

    /// It is not the active one any more.
    pub(super) fn demote(&mut self, handle: &Handle) {
        self.own = None;
        handle.set_active(None);
        self.look_at = Instant::now();
    }

    /// Hands the lease on, when it is this member's.
    pub(super) async fn stand_down(&mut self, handle: &Handle) {
        if let Some(revision) = self.own.take() {
            handle.set_active(None);
            // Without an answer the lease ends by itself.
            let _ = store(handle, None, revision).await;
        }
    }
}

/// Stores who is active; says where that lies.
async fn store(handle: &Handle, member: Option<&str>, revision: u64) -> Result<u64> {
    let active = Active {
        version: 1,
        member: member.map(str::to_owned),
    };
    let payload = serde_json::to_vec(&active).unwrap_or_default();
    let subject = handle.core.keys.active(&handle.sub);
    handle
        .core
        .put(subject, payload.into(), Some(revision))
        .await
}

async fn load(handle: &Handle) -> Result<Option<(Active, u64)>> {
    let core = &handle.core;
    let question = json!({"last_by_subj": core.keys.active(&handle.sub)});
    let Some(stored) = core.get(&core.keys.books(), &question).await? else {
        return Ok(None);
    };
    let free = Active {
        version: 1,
        member: None,
    };
    let active = serde_json::from_slice(&stored.payload()).unwrap_or(free);
    Ok(Some((active, stored.seq)))
}

impl Driver {
    /// Renews the lease of an active member, or looks whether this one can become it.
    pub(super) async fn stand(&mut self) -> Turn<()> {
        let handle = Arc::clone(&self.handle);
        if !self.standing.ordered {
            return Ok(());
        }
        if self.standing.own.is_some() && !handle.is_active() {
            // Another one may be active by now.
            self.step_back();
        }
        if self.standing.look_at > Instant::now() {
            return Ok(());
        }
        let sent_at = Instant::now();
        self.standing.look_at = sent_at + self.standing.lease / 4;
        if let Some(revision) = self.standing.own {
            return match store(&handle, Some(&handle.member), revision).await {
                Ok(revision) => {
                    self.standing.own = Some(revision);
                    handle.set_active(Some(self.valid_until(sent_at)));
                    Ok(())
                }
                Err(failed) if failed.kind() == ErrorKind::Fenced => self.still_own().await,
                Err(failed) => Err(failed.into()),
            };
        }
        let revision = match load(&handle).await? {
            None => 0,
            Some((Active { member: None, .. }, revision)) => revision,
            Some((
                Active {
                    member: Some(member),
                    ..
                },
                revision,
            )) if member == handle.member => revision,
            Some((_, revision)) => {
                let now = Instant::now();
                match self.standing.other {
                    Some((known, since)) if known == revision => {
                        if now < since + self.standing.lease {
                            return Ok(());
                        }
                    }
                    _ => {
                        self.standing.other = Some((revision, now));
                        return Ok(());
                    }
                }
                revision
            }
        };
        let sent_at = Instant::now();
        match store(&handle, Some(&handle.member), revision).await {
            Ok(revision) => self.take_over(revision, sent_at).await,
            // Another one was faster.
            Err(failed) if failed.kind() == ErrorKind::Fenced => Ok(()),
            Err(failed) => Err(failed.into()),
        }
    }

    fn valid_until(&self, sent_at: Instant) -> Instant {
        sent_at + self.standing.lease - self.standing.lease / 10
    }

    /// A renewal was refused: an earlier one without an answer may have been stored.
    async fn still_own(&mut self) -> Turn<()> {
        let handle = Arc::clone(&self.handle);
        match load(&handle).await? {
            Some((
                Active {
                    member: Some(member),
                    ..
                },
                revision,
            )) if member == handle.member => {
                self.standing.own = Some(revision);
                self.standing.look_at = Instant::now();
            }
            _ => self.step_back(),
        }
        Ok(())
    }

    /// What it held is not this member's any more.
    fn step_back(&mut self) {
        let handle = Arc::clone(&self.handle);
        self.gathering = None;
        self.standing.demote(&handle);
        self.puller = None;
        handle.shared.lose_all(false);
    }

    /// Becomes the active one: what the one before had not settled comes again first, in order.
    async fn take_over(&mut self, revision: u64, sent_at: Instant) -> Turn<()> {
        let handle = Arc::clone(&self.handle);
        self.standing.other = None;
        let (stream, consumer) = (
            handle.core.keys.data(),
            handle.record().consumer(&handle.sub),
        );
        match handle.core.consumer_info(&stream, &consumer).await? {
            Some(info) => self.gather(&info).await?,
            None => handle.doubt(),
        }
        self.standing.own = Some(revision);
        handle.set_active(Some(self.valid_until(sent_at)));
        self.standing.look_at = Instant::now();
        Ok(())
    }
}

/// What was unsettled when a member became the active one, until all of it is here: only then its order is known,
/// because leases that end by themselves mix it up.
#[derive(Debug)]
pub(super) struct Gathering {
    /// How many are still to come.
    left: usize,
    /// None of them lies above this.
    last: u64,
    arrived: BTreeMap<u64, Fetched>,
    look_at: Instant,
}

impl Driver {
    /// Lets everything unsettled come again, and keeps what comes until all of it is here.
    pub(super) async fn gather(&mut self, info: &ConsumerInfo) -> Result<()> {
        let handle = Arc::clone(&self.handle);
        ask_again(&handle, info).await?;
        let held = handle.shared.count();
        let pending = usize::try_from(info.num_ack_pending).unwrap_or(usize::MAX);
        let left = pending.saturating_sub(held);
        self.gathering = (left > 0).then(|| Gathering {
            left,
            last: info.delivered.stream_seq,
            arrived: BTreeMap::new(),
            look_at: Instant::now() + handle.lease,
        });
        Ok(())
    }

    /// How many messages may be fetched now.
    pub(super) fn room(&self) -> usize {
        match &self.gathering {
            Some(gathering) => gathering.left,
            None => self.handle.shared.room(),
        }
    }

    /// Hands over what was fetched, in order once everything that was unsettled is here.
    pub(super) fn arrived(&mut self, fetched: Vec<Fetched>) {
        let Some(gathering) = &mut self.gathering else {
            self.handle.shared.push(fetched, self.handle.ordered);
            return;
        };
        for one in fetched {
            let sequence = one.delivery.position.offset().0;
            let new = gathering.arrived.insert(sequence, one).is_none();
            if new && sequence <= gathering.last {
                gathering.left = gathering.left.saturating_sub(1);
            }
        }
        if gathering.left == 0 {
            self.gathered();
        }
    }

    /// Hands over what is here.
    pub(super) fn gathered(&mut self) {
        if let Some(gathering) = self.gathering.take() {
            let fetched = gathering.arrived.into_values().collect();
            self.handle.shared.push(fetched, self.handle.ordered);
        }
    }

    /// What does not come may have been removed: the server is asked how many there are.
    pub(super) async fn look_for_missing(&mut self) -> Turn<()> {
        let Some(gathering) = &mut self.gathering else {
            return Ok(());
        };
        if gathering.look_at > Instant::now() {
            return Ok(());
        }
        gathering.look_at = Instant::now() + self.handle.lease;
        let handle = Arc::clone(&self.handle);
        let (stream, consumer) = (
            handle.core.keys.data(),
            handle.record().consumer(&handle.sub),
        );
        let info = handle.core.consumer_info(&stream, &consumer).await?;
        let held = handle.shared.count();
        if let (Some(info), Some(gathering)) = (info, &mut self.gathering) {
            let pending = usize::try_from(info.num_ack_pending).unwrap_or(usize::MAX);
            gathering.left = pending.saturating_sub(held + gathering.arrived.len());
        }
        if self
            .gathering
            .as_ref()
            .is_some_and(|gathering| gathering.left == 0)
        {
            self.gathered();
        }
        Ok(())
    }
}

/// Lets the server hand over again, before anything new, whatever is unsettled and not held here.
async fn ask_again(handle: &Handle, info: &ConsumerInfo) -> Result<()> {
    let core = &handle.core;
    let (stream, consumer) = (core.keys.data(), handle.record().consumer(&handle.sub));
    if info.num_ack_pending == 0 {
        return Ok(());
    }
    let last = info.delivered.stream_seq;
    let mut next = info.ack_floor.stream_seq + 1;
    while next <= last {
        let end = last.min(next + CHUNK - 1);
        // A made subject is as good as the one of the delivery; what is not pending is left alone.
        let asked: Vec<_> = (next..=end)
            .filter(|sequence| !handle.shared.holds(*sequence))
            .map(|sequence| {
                let ack = format!(
                    "$JS.ACK.{stream}.{consumer}.1.{sequence}.{}.0.0",
                    info.delivered.consumer_seq
                );
                core.link
                    .send(Line::Control, ack, None, Bytes::from_static(b"-NAK"))
            })
            .collect();
        for slot in asked {
            slot.answer(core.patience()).await.map_err(Lost::error)?;
        }
        next = end + 1;
    }
    Ok(())
}
