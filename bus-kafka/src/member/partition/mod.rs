//! What a member knows of one partition: which of its messages are settled, handed out, or wait.

mod committing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use bus_api::{AttemptRecord, Message, Position, Receipt, Topic};
use tokio::time::Instant;

use self::committing::Waiter;
pub(crate) use self::committing::{Sent, Snapshot};
use super::metadata::{Kept, Statement};

/// Fewest messages that a commit allows to hand out ahead of it.
const LEAST_GRANT: i64 = 16;
/// Most of them.
const MOST_GRANT: i64 = 4_096;

/// Where an unsettled message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It waits for being handed out.
    Waiting,
    /// The member has it.
    Out,
    /// It rests.
    Parked,
}

/// An unsettled message.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) message: Arc<Message>,
    pub(crate) position: Position,
    pub(crate) malformed: Option<Box<str>>,
    pub(crate) record: Option<AttemptRecord>,
    pub(crate) due: Option<SystemTime>,
    /// A handler may have started it.
    pub(crate) suspect: bool,
    pub(crate) place: Place,
    /// Hand-overs of it by this member.
    pub(crate) handed: u16,
    /// What it counts for among the bytes that wait, until it is handed out.
    waits: usize,
}

/// A partition that this member owns.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// The topic of messages that name none.
    pub(crate) root: Topic,
    /// How positions name the log.
    pub(crate) log: Arc<str>,
    pub(crate) incarnation: u32,
    pub(crate) epoch: u64,
    entries: BTreeMap<i64, Entry>,
    /// Waiting and handed out before, here or by an earlier owner.
    again: BTreeSet<i64>,
    /// Waiting and never handed out.
    fresh: BTreeSet<i64>,
    /// Unsettled when an earlier owner left, not fetched yet.
    restored: BTreeMap<i64, Kept>,
    /// The next offset to be fetched.
    pub(crate) fetched: i64,
    /// Below it an earlier owner has settled what is not in `restored`.
    next_before: i64,
    /// Below it an earlier owner may have handed out more than it said.
    suspect_end: i64,
    /// Up to here messages may be handed out.
    granted: i64,
    /// How many a commit allows to hand out ahead of it.
    width: i64,
    /// All that was granted was handed out before the next commit was confirmed.
    exhausted: bool,
    /// What the broker knows.
    committed: Statement,
    /// The member has that many.
    pub(crate) out: usize,
    /// Bytes that wait to be handed out for the first time.
    pub(crate) bytes: usize,
    /// It goes to another member then, at the latest.
    pub(crate) revoked: Option<Instant>,
    /// The group has shut the member out.
    pub(crate) suspended: bool,
    /// It is another member's, or will be: nothing of it is left here.
    lost: bool,
    pub(crate) dirty: bool,
    seq: u64,
    /// Everything up to here is committed.
    confirmed: u64,
    waiters: Vec<Waiter>,
    /// What the brokers may have: what was found or confirmed last, and what was sent since.
    sent: VecDeque<Sent>,
    /// Bytes that the last commit left unused.
    room: usize,
    /// Messages that got a record since.
    noted: usize,
}

/// What became of a fetched message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// It waits to be handed out.
    Waits,
    /// It rests until its time.
    Rests(SystemTime),
    /// It was settled before, or is not for this subscription.
    Passed,
    /// It was read before: the log may be another one.
    Again,
}

impl Part {
    /// One of which `window` messages may be handed out at the same time, as its share of the member's.
    pub(crate) fn new(
        topic: String,
        partition: i32,
        root: Topic,
        log: Arc<str>,
        epoch: u64,
        statement: Statement,
        window: usize,
    ) -> Self {
        // Twice its window, so that a commit of acks grants the next window with it.
        let width = i64::try_from(window.saturating_mul(2)).unwrap_or(MOST_GRANT);
        let width = width.clamp(LEAST_GRANT, MOST_GRANT);
        Self {
            topic,
            partition,
            root,
            log,
            incarnation: statement.incarnation,
            epoch,
            entries: BTreeMap::new(),
            again: BTreeSet::new(),
            fresh: BTreeSet::new(),
            fetched: statement.base,
            next_before: statement.next,
            suspect_end: statement.granted,
            // What may be suspect may be handed out; nothing else before a commit says so.
            granted: statement.granted,
            restored: statement.listed.clone(),
            width,
            exhausted: false,
            committed: statement,
            out: 0,
            bytes: 0,
            revoked: None,
            suspended: false,
            lost: false,
            dirty: false,
            seq: 0,
            confirmed: 0,
            waiters: Vec::new(),
            sent: VecDeque::new(),
            room: usize::MAX,
            noted: 0,
        }
    }

    /// The lowest unsettled offset.
    pub(crate) fn base(&self) -> i64 {
        let first = self.entries.first_key_value().map(|(offset, _)| *offset);
        let restored = self.restored.first_key_value().map(|(offset, _)| *offset);
        [first, restored]
            .into_iter()
            .flatten()
            .fold(self.fetched, i64::min)
    }

    /// The first offset that was never handed out.
    fn next(&self) -> i64 {
        let fresh = self.fresh.first().copied().unwrap_or(self.fetched);
        fresh.max(self.next_before)
    }

    /// Messages that wait, as a bound of memory.
    pub(crate) fn waiting(&self) -> usize {
        self.again.len() + self.fresh.len()
    }

    /// Notes a fetched record before it is read. `Passed` and `Again`: it need not be read.
    pub(crate) fn meet(&mut self, offset: i64) -> (Fetched, u64) {
        if offset < self.fetched {
            return (Fetched::Again, 0);
        }
        let mut gone = 0;
        while let Some(entry) = self.restored.first_entry() {
            if *entry.key() >= offset {
                break;
            }
            entry.remove();
            gone += 1;
            self.dirty = true;
        }
        if offset < self.next_before && !self.restored.contains_key(&offset) {
            self.fetched = offset + 1;
            return (Fetched::Passed, gone);
        }
        (Fetched::Waits, gone)
    }

    /// A record that is not for this subscription.
    pub(crate) fn pass(&mut self, offset: i64) {
        self.fetched = offset + 1;
        if self.restored.remove(&offset).is_some() {
            self.dirty = true;
        }
    }

    /// Takes a fetched message in. With `parks`, what is not due rests here.
    pub(crate) fn take(
        &mut self,
        offset: i64,
        message: Arc<Message>,
        position: Position,
        malformed: Option<Box<str>>,
        parks: Option<SystemTime>,
    ) -> Fetched {
        self.fetched = offset + 1;
        let kept = self.restored.remove(&offset);
        let suspect = match &kept {
            Some(kept) => !kept.clean,
            None => offset < self.suspect_end,
        };
        let handed_before = kept.is_some();
        let kept = kept.unwrap_or_default();
        let due = kept.due.or_else(|| {
            message
                .targeted
                .as_ref()
                .filter(|_| !handed_before)
                .and_then(|copy| copy.not_before)
        });
        let rests = parks.and_then(|now| due.filter(|due| *due > now));
        let mut waits = 0;
        let place = if rests.is_some() {
            Place::Parked
        } else {
            waits = message.size();
            self.bytes += waits;
            if handed_before {
                self.again.insert(offset);
            } else {
                self.fresh.insert(offset);
            }
            Place::Waiting
        };
        let entry = Entry {
            message,
            position,
            malformed,
            record: kept.record,
            due,
            suspect,
            place,
            handed: 0,
            waits,
        };
        self.entries.insert(offset, entry);
        rests.map_or(Fetched::Waits, Fetched::Rests)
    }

    /// The next message to hand out. `Err(true)`: there is one, once a commit allows it.
    pub(crate) fn hand_out(&mut self) -> Result<(i64, &Entry), bool> {
        if self.is_away() {
            return Err(false);
        }
        let again = self.again.first().copied();
        let fresh = self.fresh.first().copied();
        let offset = match (again, fresh) {
            (Some(again), Some(fresh)) => again.min(fresh),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return Err(false),
        };
        if offset >= self.granted {
            self.exhausted = true;
            self.dirty = true;
            return Err(true);
        }
        self.again.remove(&offset);
        self.fresh.remove(&offset);
        self.out += 1;
        let Some(entry) = self.entries.get_mut(&offset) else {
            return Err(false);
        };
        entry.place = Place::Out;
        entry.handed = entry.handed.wrapping_add(1);
        self.bytes -= std::mem::take(&mut entry.waits);
        if self.granted - offset < self.width / 4 {
            self.dirty = true;
        }
        Ok((offset, entry))
    }

    /// The receipt of what was handed out.
    pub(crate) fn receipt(&self, offset: i64, handed: u16) -> Receipt {
        Receipt {
            slot: u64::try_from(offset).unwrap_or(0),
            epoch: self.epoch << 16 | u64::from(handed),
        }
    }

    /// The receipts of everything that the member has.
    pub(crate) fn receipts(&self) -> Vec<Receipt> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.place == Place::Out)
            .map(|(offset, entry)| self.receipt(*offset, entry.handed))
            .collect()
    }

    /// The entry that a receipt stands for, when the member still has it.
    pub(crate) fn held(&mut self, receipt: Receipt) -> Option<(i64, &mut Entry)> {
        let offset = i64::try_from(receipt.slot).ok()?;
        let entry = self.entries.get_mut(&offset)?;
        let current =
            entry.place == Place::Out && receipt.epoch & 0xffff == u64::from(entry.handed);
        current.then_some((offset, entry))
    }

    /// Changes what is kept of an unsettled message.
    pub(crate) fn edit(&mut self, offset: i64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.get_mut(&offset) {
            change(entry);
            self.noted += 1;
        }
    }

    /// It is settled.
    pub(crate) fn settle(&mut self, offset: i64) {
        if self.entries.remove(&offset).is_some() {
            self.out -= 1;
            self.touch();
        }
    }

    /// It goes back, to wait or to rest.
    pub(crate) fn put_back(&mut self, offset: i64, rests: bool) {
        let Some(entry) = self.entries.get_mut(&offset) else {
            return;
        };
        entry.place = if rests { Place::Parked } else { Place::Waiting };
        if !rests {
            self.again.insert(offset);
        }
        self.out -= 1;
        self.touch();
    }

    /// It has rested since it was handed out for the `handed`th time.
    pub(crate) fn wake(&mut self, offset: i64, handed: u16) {
        if let Some(entry) = self.entries.get_mut(&offset)
            && entry.place == Place::Parked
            && entry.handed == handed
        {
            entry.place = Place::Waiting;
            self.again.insert(offset);
        }
    }
}
