//! What a commit says beside its offset: which messages are unsettled, with their records.
//!
//! The committed offset is `base`, the lowest unsettled one. The metadata lists what is *unsettled* between it
//! and `next`, the first that was never handed out; so its size follows what is outstanding, however far a
//! stalled message lags behind. At or above `next` everything is unsettled without being listed. Up to
//! `granted` the owner may have handed out more since: what another member cannot rule out to have been
//! started.
//!
//! The metadata is text to the client library, so it is base64 of: version 1; the incarnation of the log, four
//! bytes; `next - base`, `granted - next`, a reference time in milliseconds since 1970; then runs of messages
//! in the same state: the gap since the last run, the length of the run shifted left by two, with bit 0 for
//! "has a record" and bit 1 for "no handler has started it". A record is a byte of flags (1 started, 2 due,
//! 4 failed, 8 no record but a time), when failed failures, crashes, first and last failure, and when due the
//! time. Numbers are LEB128, times milliseconds relative to the reference, zigzag.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bus_api::adapter::leb128::{put, take};
use bus_api::{AttemptRecord, ErrorKind, Result, split_version};

use crate::error::error;

const VERSION: u8 = 1;
const WHAT: &str = "the metadata of a commit";
/// A run that is longer than this is damage.
const LONGEST_RUN: u64 = 1 << 24;

const HAS_RECORD: u64 = 1;
const CLEAN: u64 = 2;

const STARTED: u8 = 1;
const DUE: u8 = 2;
const FAILED: u8 = 4;
const NO_RECORD: u8 = 8;

/// What a message with a record takes of the text, at most if it failed and rests; less than twice as much as
/// it usually takes.
pub(super) const RECORD_SIZE: usize = 32;

/// What is kept of an unsettled message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) record: Option<AttemptRecord>,
    /// It rests until then.
    pub(crate) due: Option<SystemTime>,
    /// No handler has started it.
    pub(crate) clean: bool,
}

/// What a commit says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) incarnation: u32,
    pub(crate) base: i64,
    pub(crate) next: i64,
    pub(crate) granted: i64,
    /// Unsettled messages from `base` on and below `next`.
    pub(crate) listed: BTreeMap<i64, Kept>,
}

impl Statement {
    /// A commit of another tool, without metadata: everything from `base` on is unsettled.
    pub(crate) fn plain(incarnation: u32, base: i64) -> Self {
        Self {
            incarnation,
            base,
            next: base,
            granted: base,
            listed: BTreeMap::new(),
        }
    }

    /// The text form, and up to which offset it speaks: what does not fit into `most` bytes is left unsaid,
    /// so that it counts as unsettled.
    pub(crate) fn encode(&self, most: usize, now: SystemTime) -> (String, i64) {
        let room = most / 4 * 3;
        let reference = millis(now);
        let mut runs = Vec::new();
        let mut next = self.next;
        let mut end = self.base;
        let mut listed = self.listed.iter().peekable();
        while let Some((&first, kept)) = listed.next() {
            let mut after = first + 1;
            while listed
                .next_if(|(offset, other)| **offset == after && *other == kept)
                .is_some()
            {
                after += 1;
            }
            let before = runs.len();
            put(&mut runs, distance(end, first));
            write_run(&mut runs, distance(first, after), kept, reference);
            if runs.len() + 32 > room {
                runs.truncate(before);
                next = first;
                break;
            }
            end = after;
        }
        let mut out = vec![VERSION];
        out.extend(self.incarnation.to_be_bytes());
        put(&mut out, distance(self.base, next));
        put(&mut out, distance(next, self.granted.max(next)));
        put(&mut out, u64::try_from(reference).unwrap_or(0));
        out.extend(runs);
        (URL_SAFE_NO_PAD.encode(out), next)
    }

    /// Reads the text form of a commit of `base`.
    ///
    /// # Errors
    /// `Unsupported` for a newer version, `Decode` for what the bus has not written.
    pub(crate) fn decode(base: i64, text: &[u8]) -> Result<Self> {
        let damaged = || error(ErrorKind::Decode, format!("{WHAT} is damaged"));
        let raw = URL_SAFE_NO_PAD.decode(text).map_err(|_| damaged())?;
        let (_, rest) = split_version(&raw, VERSION, WHAT)?;
        read(base, rest).ok_or_else(damaged)
    }
}

fn read(base: i64, rest: &[u8]) -> Option<Statement> {
    let (incarnation, mut rest) = rest.split_first_chunk::<4>()?;
    let rest = &mut rest;
    let next = base.checked_add(i64::try_from(take(rest)?).ok()?)?;
    let granted = next.checked_add(i64::try_from(take(rest)?).ok()?)?;
    let reference = i64::try_from(take(rest)?).ok()?;
    let mut listed = BTreeMap::new();
    let mut end = base;
    while !rest.is_empty() {
        let first = end.checked_add(i64::try_from(take(rest)?).ok()?)?;
        let run = take(rest)?;
        let length = run >> 2;
        if length > LONGEST_RUN {
            return None;
        }
        let mut kept = Kept {
            clean: run & CLEAN != 0,
            ..Kept::default()
        };
        if run & HAS_RECORD != 0 {
            (kept.record, kept.due) = read_record(rest, reference)?;
        }
        end = first.checked_add(i64::try_from(length).ok()?)?;
        listed.extend((first..end).map(|offset| (offset, kept)));
    }
    Some(Statement {
        incarnation: u32::from_be_bytes(*incarnation),
        base,
        next,
        granted,
        listed,
    })
}

fn write_run(out: &mut Vec<u8>, length: u64, kept: &Kept, reference: i64) {
    let has_record = kept.record.is_some() || kept.due.is_some();
    let mut run = length << 2;
    if has_record {
        run |= HAS_RECORD;
    }
    if kept.clean {
        run |= CLEAN;
    }
    put(out, run);
    if !has_record {
        return;
    }
    let record = kept.record.unwrap_or_default();
    let failed = record.failures > 0 || record.crashes > 0 || record.first_failure.is_some();
    let flags = [
        (record.started, STARTED),
        (kept.due.is_some(), DUE),
        (failed, FAILED),
        (kept.record.is_none(), NO_RECORD),
    ];
    out.push(
        flags
            .iter()
            .filter(|(set, _)| *set)
            .fold(0, |all, (_, flag)| all | flag),
    );
    let mut put_time = |time: Option<SystemTime>| {
        let relative = millis(time.unwrap_or(SystemTime::UNIX_EPOCH)).saturating_sub(reference);
        put(out, zigzag(relative));
    };
    if failed {
        put_time(record.first_failure);
        put_time(record.last_failure);
    }
    if kept.due.is_some() {
        put_time(kept.due);
    }
    if failed {
        put(out, u64::from(record.failures));
        put(out, u64::from(record.crashes));
    }
}

fn read_record(
    rest: &mut &[u8],
    reference: i64,
) -> Option<(Option<AttemptRecord>, Option<SystemTime>)> {
    let (&flags, tail) = rest.split_first()?;
    *rest = tail;
    let time = |rest: &mut &[u8]| {
        let millis = reference.checked_add(unzigzag(take(rest)?))?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(millis).ok()?))
    };
    let mut record = AttemptRecord {
        started: flags & STARTED != 0,
        ..AttemptRecord::default()
    };
    if flags & FAILED != 0 {
        record.first_failure = Some(time(rest)?);
        record.last_failure = Some(time(rest)?);
    }
    let due = if flags & DUE != 0 {
        Some(time(rest)?)
    } else {
        None
    };
    if flags & FAILED != 0 {
        record.failures = take(rest)?.try_into().ok()?;
        record.crashes = take(rest)?.try_into().ok()?;
    }
    Some(((flags & NO_RECORD == 0).then_some(record), due))
}

fn millis(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}

fn distance(from: i64, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from)).unwrap_or(0)
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    const NOW: u64 = 1_700_000_000_000;

    #[test]
    fn a_statement_leads_back() {
        let failed = AttemptRecord::default()
            .failed(at(NOW - 5))
            .crashed(at(NOW + 7));
        let kept = |record, due, clean| Kept { record, due, clean };
        let statement = Statement {
            incarnation: 0xdead_beef,
            base: 100,
            next: 200,
            granted: 264,
            listed: BTreeMap::from([
                (100, kept(None, None, false)),
                (101, kept(None, None, true)),
                (102, kept(None, None, true)),
                (120, kept(Some(failed), None, false)),
                (121, kept(Some(failed), Some(at(NOW + 60_000)), false)),
                (122, kept(None, Some(at(NOW - 60_000)), false)),
                (
                    199,
                    kept(
                        Some(AttemptRecord {
                            started: true,
                            ..AttemptRecord::default()
                        }),
                        None,
                        false,
                    ),
                ),
            ]),
        };
        let (text, covered) = statement.encode(4096, at(NOW));
        assert_eq!(covered, 200);
        assert_eq!(Statement::decode(100, text.as_bytes()).unwrap(), statement);
    }

    #[test]
    fn what_does_not_fit_counts_as_unsettled() {
        let mut statement = Statement::plain(1, 0);
        statement.next = 10_000;
        statement.granted = 10_000;
        statement.listed = (0..5_000)
            .map(|number| {
                let record = AttemptRecord::default().failed(at(NOW - number));
                (
                    i64::try_from(number).unwrap() * 2,
                    Kept {
                        record: Some(record),
                        ..Kept::default()
                    },
                )
            })
            .collect();
        let (text, covered) = statement.encode(4096, at(NOW));
        assert!(text.len() <= 4096 && covered < 10_000);
        let read = Statement::decode(0, text.as_bytes()).unwrap();
        assert_eq!((read.next, read.granted), (covered, 10_000));
        assert!(statement.listed.range(..covered).eq(read.listed.iter()));
        assert!(read.listed.len() > 100, "{}", read.listed.len());
    }

    #[test]
    fn damage_and_newer_versions_are_told_apart() {
        let newer = URL_SAFE_NO_PAD.encode([2, 0, 0, 0, 0, 0, 0, 0]);
        let kind = |text: &[u8]| Statement::decode(0, text).unwrap_err().kind();
        assert_eq!(kind(newer.as_bytes()), ErrorKind::Unsupported);
        for damaged in [&b"?"[..], b"", b"AQ", b"AQAAAAAAAAAA////////"] {
            assert_eq!(kind(damaged), ErrorKind::Decode, "{damaged:?}");
        }
    }
}
