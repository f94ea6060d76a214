//! What became of every number.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::Error;

use super::probe::{Fate, fate};
use super::report::Report;

/// How much later than a confirmed ack a delivery may be handed out that the broker had sent before it: it
/// lay in a member, behind others of its key. What the broker sends after a lost ack comes at the earliest
/// when the lease has run out, which is longer.
const CROSSING: Duration = Duration::from_secs(2);
/// The same when the server was killed in between: then it may send at once what it has forgotten.
const CROSSING_A_KILL: Duration = Duration::from_millis(250);
/// Most numbers that a violation names.
const NAMED: usize = 8;

/// What became of every number of a scenario; publishers and members write into it.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Books>);

/// The books themselves.
#[derive(Debug, Default)]
pub(super) struct Books {
    entries: Vec<Entry>,
    /// Publishes that the broker has confirmed.
    pub(super) confirmed: u64,
    /// Publishes that are certainly not stored.
    pub(super) rejected: u64,
    /// Publishes that may be stored.
    pub(super) indeterminate: u64,
    /// Hand-overs.
    pub(super) delivered: u64,
    /// Numbers whose ack or dead letter was confirmed.
    pub(super) settled: u64,
    /// Messages whose publish is confirmed and which no member has got yet.
    pub(super) waiting: u64,
    /// Settlements refused because another member had the delivery.
    pub(super) fenced: u64,
    /// Why publishes were not confirmed, and how often.
    pub(super) refusals: BTreeMap<String, u64>,
    /// When the server was killed, and when it was back.
    kills: Vec<(u64, u64)>,
    /// What members and publishers said that must not happen.
    pub(super) complaints: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    confirmed: bool,
    deliveries: u32,
    last_delivered_at: u64,
    /// When the first confirmation of its end came; 0 before.
    settled_at: u64,
}

/// What the books say in the end.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Deliveries beyond the first.
    pub(super) redelivered: u64,
    /// Deliveries that arrived just after a confirmed ack.
    pub(super) crossed: u64,
    /// Acks confirmed so shortly before a kill that the transport says they may come again, and which did.
    pub(super) young: u64,
    /// What the contract forbids.
    pub(super) violations: Vec<String>,
}

impl Ledger {
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// The next number to publish.
    pub(super) fn issue(&mut self) -> u64 {
        self.entries.push(Entry::default());
        self.entries.len() as u64 - 1
    }

    pub(super) fn note_confirmed(&mut self, number: u64) {
        self.confirmed += 1;
        let mut waits = false;
        if let Some(entry) = self.entry(number) {
            entry.confirmed = true;
            waits = entry.deliveries == 0;
        }
        self.waiting += u64::from(waits);
    }

    pub(super) fn note_unconfirmed(&mut self, error: &Error) {
        if error.is_indeterminate() {
            self.indeterminate += 1;
        } else {
            self.rejected += 1;
        }
        *self.refusals.entry(error.to_string()).or_default() += 1;
    }

    pub(super) fn note_kill(&mut self, at: u64, back: u64) {
        self.kills.push((at, back));
    }

    pub(super) fn note(&mut self, report: &Report) {
        match *report {
            Report::Joined | Report::Started { .. } => {}
            Report::Delivered { number, at } => {
                self.delivered += 1;
                let mut waited = false;
                if let Some(entry) = self.entry(number) {
                    waited = entry.confirmed && entry.deliveries == 0;
                    entry.deliveries += 1;
                    entry.last_delivered_at = entry.last_delivered_at.max(at);
                }
                self.waiting -= u64::from(waited);
            }
            Report::Acked { number, at } | Report::Buried { number, at } => {
                let mut first = false;
                if let Some(entry) = self.entry(number) {
                    first = entry.settled_at == 0;
                    if first || at < entry.settled_at {
                        entry.settled_at = at;
                    }
                }
                self.settled += u64::from(first);
            }
            Report::Fenced { .. } => self.fenced += 1,
            Report::Ended(ref why) => self.complaints.push(format!("a member ended: {why}")),
        }
    }

    fn why_again(&self, entry: &Entry, flushed: u64) -> Again {
        let (settled, delivered) = (entry.settled_at, entry.last_delivered_at);
        let between = |&&(killed, back): &&(u64, u64)| killed <= delivered && settled <= back;
        let killed: Vec<&(u64, u64)> = self.kills.iter().filter(between).collect();
        let crossing = if killed.is_empty() {
            CROSSING
        } else {
            CROSSING_A_KILL
        };
        // What a member hears of while the server is away, the server had said before.
        let young = |&&(killed, _): &&(u64, u64)| settled.saturating_add(flushed) >= killed;
        if delivered - settled <= micros(crossing) {
            Again::Crossed
        } else if flushed > 0 && killed.iter().any(young) {
            Again::Young
        } else {
            Again::Wrong
        }
    }

    /// The kills in the five seconds around an end, in milliseconds from it.
    fn kills_around(&self, entry: &Entry) -> String {
        const AROUND: u64 = 5_000_000;
        let from_end = |at: u64| (at.cast_signed() - entry.settled_at.cast_signed()) / 1_000;
        let kills: Vec<String> = self
            .kills
            .iter()
            .filter(|(killed, _)| killed.abs_diff(entry.settled_at) < AROUND)
            .map(|(killed, back)| format!("{} to {} ms", from_end(*killed), from_end(*back)))
            .collect();
        format!("server away, from that end: {}", kills.join(", "))
    }

    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(number).ok()?)
    }

    /// Confirmed messages whose end is not confirmed.
    pub(super) fn open(&self) -> usize {
        let open = |entry: &&Entry| entry.confirmed && entry.settled_at == 0;
        self.entries.iter().filter(open).count()
    }

    /// Judges the books against the dead letters that were found. Acks that are younger than `flushed` at a
    /// kill may come again.
    pub(super) fn judge(&self, dead: &BTreeMap<u64, u64>, flushed: Duration) -> Verdict {
        let mut verdict = Verdict::default();
        let (mut lost, mut again) = (Named::default(), Named::default());
        let (mut not_buried, mut twice) = (Named::default(), Named::default());
        let flushed = micros(flushed);
        let (mut latest, mut story) = (0, String::new());
        for (number, entry) in (0..).zip(&self.entries) {
            verdict.redelivered += u64::from(entry.deliveries.saturating_sub(1));
            if entry.confirmed && entry.deliveries == 0 {
                lost.add(number);
            }
            if entry.settled_at > 0 && entry.last_delivered_at > entry.settled_at {
                match self.why_again(entry, flushed) {
                    Again::Crossed => verdict.crossed += 1,
                    Again::Young => verdict.young += 1,
                    Again::Wrong => {
                        if latest < entry.last_delivered_at - entry.settled_at {
                            latest = entry.last_delivered_at - entry.settled_at;
                            story = self.kills_around(entry);
                        }
                        again.add(number);
                    }
                }
            }
            let entries = dead.get(&number).copied().unwrap_or(0);
            let due = fate(number) == Fate::Buried && entry.confirmed;
            if due && entries == 0 {
                not_buried.add(number);
            } else if entries > 1 {
                twice.add(number);
            }
        }
        let mut wrong = Named::default();
        for number in dead.keys().filter(|number| fate(**number) != Fate::Buried) {
            wrong.add(*number);
        }
        let again_what = format!(
            "delivered again after a confirmed end, up to {:?} later ({story})",
            Duration::from_micros(latest)
        );
        for (what, named) in [
            ("confirmed and never delivered", lost),
            (again_what.as_str(), again),
            ("failed for good and not among the dead letters", not_buried),
            ("more than once among the dead letters", twice),
            ("among the dead letters without reason", wrong),
        ] {
            verdict.violations.extend(named.violation(what));
        }
        verdict.violations.extend(self.complaints.iter().cloned());
        verdict
    }
}

/// Why a delivery was handed out after a confirmed end.
enum Again {
    /// It had been sent before.
    Crossed,
    /// The ack was too young to survive a kill.
    Young,
    /// For no reason that the contract knows.
    Wrong,
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// How many, and the first of them.
#[derive(Debug, Default)]
struct Named {
    count: usize,
    first: Vec<u64>,
}

impl Named {
    fn add(&mut self, number: u64) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(number);
        }
    }

    fn violation(&self, what: &str) -> Option<String> {
        (self.count > 0).then(|| format!("{} {what}, such as {:?}", self.count, self.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: u64 = 10_000_000;

    fn books(reports: &[Report]) -> Books {
        let mut books = Books::default();
        for _ in 0..20 {
            books.issue();
        }
        books.note_confirmed(1);
        for report in reports {
            books.note(report);
        }
        books
    }

    fn violations(books: &Books, dead: &[u64]) -> Vec<String> {
        let dead = dead.iter().map(|number| (*number, 1)).collect();
        books.judge(&dead, Duration::ZERO).violations
    }

    #[test]
    fn what_was_confirmed_and_never_came_is_lost() {
        let found = violations(&books(&[]), &[]);
        assert!(found[0].starts_with("1 confirmed and never delivered"));
        let came = [Report::Delivered { number: 1, at: 1 }];
        assert_eq!(violations(&books(&came), &[]), Vec::<String>::new());
    }

    #[test]
    fn what_was_acked_does_not_come_again() {
        let again = [
            Report::Delivered { number: 1, at: 1 },
            Report::Acked { number: 1, at: 2 },
            Report::Delivered {
                number: 1,
                at: LATER,
            },
        ];
        assert_eq!(violations(&books(&again), &[]).len(), 1);
        let mut flushed = books(&again);
        flushed.note_kill(3, 4);
        let verdict = flushed.judge(&BTreeMap::new(), Duration::from_secs(1));
        assert_eq!((verdict.young, verdict.violations.len()), (1, 0));
        let mut old = books(&again);
        old.note_kill(2_000_000, 3_000_000);
        let verdict = old.judge(&BTreeMap::new(), Duration::from_secs(1));
        assert_eq!((verdict.young, verdict.violations.len()), (0, 1));
    }

    #[test]
    fn dead_letters_are_conserved() {
        let came = Report::Delivered { number: 1, at: 1 };
        let mut books = books(&[came, Report::Delivered { number: 13, at: 1 }]);
        books.note_confirmed(13);
        assert_eq!(violations(&books, &[]).len(), 1, "missing");
        assert_eq!(violations(&books, &[13]).len(), 0);
        assert_eq!(violations(&books, &[13, 1]).len(), 1, "without reason");
        let twice = BTreeMap::from([(13, 2)]);
        assert_eq!(books.judge(&twice, Duration::ZERO).violations.len(), 1);
    }
}
