//! Exact books of what was published, delivered and acked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::outcome::Violation;
use crate::probe::inbox::Token;
use crate::probe::time::PATIENCE;

/// Exact books of one subscription: a delivery that comes twice, one that was never published and one
/// that is missing are all told apart. Clones share the books.
#[derive(Clone, Debug)]
pub(crate) struct Ledger(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    books: Mutex<Books>,
    changed: watch::Sender<()>,
}

/// What a ledger holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    /// How often each number was published, confirmed or perhaps.
    pub(crate) published: BTreeMap<u64, u32>,
    /// Every hand-over, in the order of arrival.
    pub(crate) deliveries: Vec<Handed>,
    /// How many acks of each number the broker has confirmed.
    pub(crate) acked: BTreeMap<u64, u32>,
    /// What was handed over although as many acks of it were confirmed as it was published (A1).
    pub(crate) back_from_ack: BTreeSet<u64>,
}

/// One hand-over.
#[derive(Clone, Debug)]
pub(crate) struct Handed {
    /// The number of the note.
    pub(crate) number: u64,
    /// Its key.
    pub(crate) key: Option<String>,
    /// To which member.
    pub(crate) member: String,
    /// The attempt that it was.
    pub(crate) attempt: u32,
    /// When it arrived.
    pub(crate) at: Instant,
}

impl Ledger {
    /// Empty books.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            books: Mutex::default(),
            changed: watch::Sender::new(()),
        }))
    }

    /// Books in which these numbers are published, once each.
    pub(crate) fn expecting(numbers: impl IntoIterator<Item = u64>) -> Self {
        let ledger = Self::new();
        ledger.publish(numbers);
        ledger
    }

    /// Enters publications.
    pub(crate) fn publish(&self, numbers: impl IntoIterator<Item = u64>) {
        self.enter(|books| {
            for number in numbers {
                *books.published.entry(number).or_default() += 1;
            }
        });
    }

    /// Enters a hand-over to `member`.
    pub(crate) fn deliver(&self, member: &str, token: &Token) {
        let handed = Handed {
            number: token.number(),
            key: token.note().key.clone(),
            member: member.to_owned(),
            attempt: token.attempt(),
            at: Instant::now(),
        };
        self.enter(|books| {
            let acked = books.acked.get(&handed.number).copied().unwrap_or(0);
            let published = books.published.get(&handed.number).copied().unwrap_or(1);
            if acked >= published.max(1) {
                books.back_from_ack.insert(handed.number);
            }
            books.deliveries.push(handed);
        });
    }

    /// Enters a confirmed ack.
    pub(crate) fn ack(&self, number: u64) {
        self.enter(|books| *books.acked.entry(number).or_default() += 1);
    }

    fn enter(&self, change: impl FnOnce(&mut Books)) {
        change(&mut self.0.books.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.send_replace(());
    }

    /// A copy of the books.
    pub(crate) fn books(&self) -> Books {
        self.read(Clone::clone)
    }

    /// Looks into the books.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Books) -> T) -> T {
        look(&self.0.books.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until `condition` holds, at most [`PATIENCE`] after the last entry.
    #[track_caller]
    pub(crate) fn until(
        &self,
        what: impl Display,
        condition: impl Fn(&Books) -> bool,
    ) -> impl Future<Output = Result<(), Violation>> {
        let late = Violation::new(format_args!("{what}: never happened"));
        let ledger = self.clone();
        let mut changed = self.0.changed.subscribe();
        async move {
            loop {
                changed.mark_unchanged();
                if ledger.read(&condition) {
                    return Ok(());
                }
                let waited = timeout(PATIENCE, changed.changed()).await;
                if !matches!(waited, Ok(Ok(()))) {
                    return Err(late.because(ledger.read(Books::summary)));
                }
            }
        }
    }

    /// Waits until everything that was published is delivered and acked.
    #[track_caller]
    pub(crate) fn until_all_acked(&self) -> impl Future<Output = Result<(), Violation>> {
        self.until("everything published is acked", |books| {
            books
                .published
                .keys()
                .all(|number| books.acked.contains_key(number))
        })
    }

    /// Everything was delivered, once for each publication, and nothing else was.
    #[track_caller]
    pub(crate) fn exact(&self) -> Result<(), Violation> {
        let books = self.books();
        if books.losses().is_empty()
            && books.duplicates().is_empty()
            && books.strangers().is_empty()
        {
            return Ok(());
        }
        Err(Violation::new(format_args!(
            "not exactly once: {}",
            books.summary()
        )))
    }

    /// Everything was delivered and nothing else was; duplicates are counted, and allowed for what had no
    /// confirmed ack.
    #[track_caller]
    pub(crate) fn no_loss(&self) -> Result<u64, Violation> {
        let books = self.books();
        if books.losses().is_empty()
            && books.strangers().is_empty()
            && books.back_from_ack.is_empty()
        {
            return Ok(books.duplicates().values().map(|n| u64::from(*n)).sum());
        }
        Err(Violation::new(format_args!(
            "lost, or back from a confirmed ack: {}",
            books.summary()
        )))
    }
}

impl Books {
    /// How often each number was handed over.
    pub(crate) fn delivered(&self) -> BTreeMap<u64, u32> {
        let mut counts = BTreeMap::new();
        for handed in &self.deliveries {
            *counts.entry(handed.number).or_default() += 1;
        }
        counts
    }

    /// Published and never handed over.
    pub(crate) fn losses(&self) -> BTreeSet<u64> {
        let delivered = self.delivered();
        self.published
            .keys()
            .filter(|number| !delivered.contains_key(number))
            .copied()
            .collect()
    }

    /// Handed over more often than published: how much more often.
    pub(crate) fn duplicates(&self) -> BTreeMap<u64, u32> {
        self.delivered()
            .into_iter()
            .filter_map(|(number, delivered)| {
                let published = self.published.get(&number).copied().unwrap_or(0).max(1);
                (delivered > published).then(|| (number, delivered - published))
            })
            .collect()
    }

    /// Handed over and never published.
    pub(crate) fn strangers(&self) -> BTreeSet<u64> {
        self.deliveries
            .iter()
            .map(|handed| handed.number)
            .filter(|number| !self.published.contains_key(number))
            .collect()
    }

    /// To whom each duplicate went, as which attempt.
    fn hands(&self) -> Vec<String> {
        self.duplicates()
            .into_keys()
            .map(|number| {
                let of_it = self.deliveries.iter().filter(|h| h.number == number);
                let hands: Vec<String> = of_it
                    .map(|handed| format!("{}#{}", handed.member, handed.attempt))
                    .collect();
                format!("{number} to {}", hands.join(" "))
            })
            .collect()
    }

    /// The counts, in a line.
    pub(crate) fn summary(&self) -> String {
        format!(
            "{} published, {} handed over, {} acked; lost {:?}, duplicated {:?}, \
             back from a confirmed ack {:?}, never published {:?}",
            self.published.values().sum::<u32>(),
            self.deliveries.len(),
            self.acked.values().sum::<u32>(),
            head(self.losses()),
            head(self.hands()),
            head(self.back_from_ack.iter()),
            head(self.strangers()),
        )
    }
}

/// Enough of a long list to see what it is about.
fn head<T>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    items.into_iter().take(12).collect()
}
