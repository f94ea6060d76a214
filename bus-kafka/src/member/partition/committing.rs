//! What of a partition is committed, and who waits for it.

use std::sync::Arc;
use std::time::SystemTime;

use bus_api::{Receipt, Result};
use tokio::time::Instant;

use super::{MOST_GRANT, Part, Place};
use crate::error::fenced;
use crate::gather::Gather;
use crate::member::metadata::{Kept, RECORD_SIZE, Statement};

/// Commits that may be what the brokers have, beside the last one that was confirmed.
const MOST_IN_DOUBT: usize = 8;

/// Somebody who waits for a commit.
#[derive(Debug)]
pub(super) struct Waiter {
    seq: u64,
    offset: i64,
    results: Arc<Gather<Result<()>>>,
    index: usize,
}

/// A commit as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) offset: i64,
    pub(crate) metadata: Vec<u8>,
}

/// What is committed of a partition.
#[derive(Debug)]
pub(crate) struct Snapshot {
    seq: u64,
    statement: Statement,
    /// Up to here it could be said.
    covered: i64,
    pub(crate) sent: Sent,
}

impl Part {
    /// Something is to be committed.
    pub(crate) fn touch(&mut self) {
        self.seq += 1;
        self.dirty = true;
    }

    /// Whether there is something that can be committed.
    pub(crate) fn wants_commit(&self) -> bool {
        self.dirty && !self.suspended
    }

    /// Tells `results` when everything up to now is committed, as far as `offset` is concerned.
    pub(crate) fn wait(&mut self, offset: i64, results: &Arc<Gather<Result<()>>>, index: usize) {
        self.waiters.push(Waiter {
            seq: self.seq,
            offset,
            results: Arc::clone(results),
            index,
        });
    }

    /// Whether more has passed than was committed; asked now and then.
    pub(crate) fn note_progress(&mut self) -> bool {
        self.dirty |= self.base() > self.committed.base || self.next() > self.committed.next;
        self.wants_commit()
    }

    /// What there is to commit, in at most `most` bytes. With `release`, nothing more will be handed out.
    pub(crate) fn snapshot(&mut self, release: bool, most: usize) -> Snapshot {
        self.dirty = false;
        if std::mem::take(&mut self.exhausted) {
            self.width = (self.width * 2).min(MOST_GRANT);
        }
        let (base, next) = (self.base(), self.next());
        let mut listed = self.restored.clone();
        for (offset, entry) in self.entries.range(..next) {
            let kept = Kept {
                record: entry.record,
                due: entry.due,
                clean: !entry.suspect && entry.place != Place::Out,
            };
            listed.insert(*offset, kept);
        }
        let granted = if release {
            next
        } else {
            self.granted.max(next + self.width)
        };
        let statement = Statement {
            incarnation: self.incarnation,
            base: base.min(next),
            next,
            granted: granted.max(self.suspect_end),
            listed,
        };
        let (metadata, covered) = statement.encode(most, SystemTime::now());
        self.room = most.saturating_sub(metadata.len());
        self.noted = 0;
        let sent = Sent {
            offset: statement.base,
            metadata: metadata.into_bytes(),
        };
        self.note_sent(sent.clone());
        Snapshot {
            seq: self.seq,
            statement,
            covered,
            sent,
        }
    }

    /// This may be what the brokers have from now on.
    pub(crate) fn note_sent(&mut self, sent: Sent) {
        if self.sent.len() > MOST_IN_DOUBT {
            self.sent.pop_front();
        }
        self.sent.push_back(sent);
    }

    /// What the broker knows, as far as it was confirmed.
    pub(crate) fn last_committed(&self) -> &Statement {
        &self.committed
    }

    /// A snapshot has been committed.
    pub(crate) fn committed(&mut self, snapshot: Snapshot) {
        let Snapshot {
            seq,
            mut statement,
            covered,
            sent,
        } = snapshot;
        self.confirmed = self.confirmed.max(seq);
        self.granted = self.granted.max(statement.granted);
        statement.next = statement.next.min(covered);
        drop(statement.listed.split_off(&covered));
        self.committed = statement;
        self.sent.clear();
        self.sent.push_back(sent);
        self.waiters.retain(|waiter| {
            let done = waiter.seq <= seq && waiter.offset < covered;
            if done {
                waiter.results.set(waiter.index, Ok(()));
            }
            !done
        });
    }

    /// Whether one more message that rests would take room of commits that those need which are tried again at
    /// once.
    pub(crate) fn is_crowded(&self, most: usize) -> bool {
        self.room < most / 4 + (self.noted + 1) * RECORD_SIZE
    }

    /// The partition goes to another member: nothing more is handed out. Returns what the member has.
    pub(crate) fn revoke(&mut self, by: Instant) -> Vec<Receipt> {
        self.revoked = Some(by);
        self.touch();
        self.receipts()
    }

    /// Whether nothing keeps it here: no handler has any of it, and what they settled is committed.
    pub(crate) fn is_given_up(&self) -> bool {
        self.out == 0 && self.confirmed >= self.seq
    }

    /// The group has shut the member out. What it has stays with it, and nothing is handed out or committed,
    /// until it is known whether another member had the partition in between. Returns what the member has.
    pub(crate) fn suspend(&mut self) -> Vec<Receipt> {
        self.suspended = true;
        self.revoked = None;
        self.receipts()
    }

    /// Whether a commit that is found is one of this member's, which has not given the partition up: then nobody else had it
    /// since.
    pub(crate) fn is_as_left(&self, found: &Sent) -> bool {
        !self.lost && self.sent.contains(found)
    }

    /// It is this member's again, as if nothing had happened.
    pub(crate) fn go_on(&mut self) {
        self.suspended = false;
        self.touch();
    }

    /// Whether nothing may be taken or handed out of it now.
    pub(crate) fn is_away(&self) -> bool {
        self.suspended || self.revoked.is_some()
    }

    /// It is no longer this member's, which has no message of it any more: returns those that it had.
    pub(crate) fn lose(&mut self) -> Vec<Receipt> {
        for waiter in self.waiters.drain(..) {
            waiter.results.set(waiter.index, Err(fenced()));
        }
        let receipts = self.receipts();
        self.entries.clear();
        self.again.clear();
        self.fresh.clear();
        (self.out, self.bytes) = (0, 0);
        self.lost = true;
        receipts
    }
}
