//! The bus for tests: in memory, with a recorder.
//!
//! The production worker runs in a test as it is; no sleeps, and with tokio's paused clock no waiting for
//! backoffs either.
//!
//! ```
//! use bus::prelude::*;
//! use bus::testing::{Ending, TestBus};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
//! #[event(type = "order.placed", topic = "orders.placed", key = "id")]
//! struct OrderPlaced { id: u64, total: u64 }
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
//! #[event(type = "mail.sent", topic = "mail.sent")]
//! struct MailSent { order: u64 }
//!
//! async fn placed(order: OrderPlaced, ctx: Context) -> HandlerResult {
//!     if order.total == 0 {
//!         Err("an order without a total").or_dead_letter()?;
//!     }
//!     if ctx.attempt() == 1 {
//!         Err("the mail server is busy")?;
//!     }
//!     ctx.publish(&MailSent { order: order.id }).once().await?;
//!     Ok(())
//! }
//!
//! fn mail_worker(bus: &BusClient) -> bus::Worker {
//!     bus.worker("mail").on(placed)
//! }
//!
//! #[tokio::main(flavor = "current_thread")] // in a test: #[tokio::test(start_paused = true)]
//! async fn main() -> bus::Result<()> {
//!     let test = TestBus::new();
//!     let _worker = mail_worker(&test.bus).start().await?;
//!
//!     test.bus.publish(&OrderPlaced { id: 7, total: 42 }).await?;
//!     test.bus.publish(&OrderPlaced { id: 8, total: 0 }).await?;
//!     test.settled().await; // the whole cascade is finished, retries included
//!
//!     assert_eq!(test.published::<MailSent>(), [MailSent { order: 7 }]);
//!     let endings: Vec<_> = test.outcomes("mail", "order.placed").into_iter().map(|outcome| outcome.ending).collect();
//!     assert_eq!(endings.iter().filter(|ending| **ending == Ending::Failed).count(), 1);
//!     assert_eq!(endings.iter().filter(|ending| **ending == Ending::Handled).count(), 1);
//!     assert_eq!(test.dead_letters("mail")[0].error.text.as_ref(), "an order without a total");
//!     Ok(())
//! }
//! ```

mod book;
mod faults;
mod inbound;
mod outcome;
mod recorder;

use std::sync::Arc;
use std::time::Duration;

use bus_api::{Bus, BusClient, Codecs, DeadLetter, ErrorKind, Event, Message, Settings};
use bus_memory::MemoryBus;

pub use self::faults::Operation;
pub use self::outcome::{Ending, Outcome};

use self::book::Book;
use self::faults::Faults;
use self::recorder::Recorder;

/// A bus in memory of its own, which records what happens on it and fails or slows down on demand.
///
/// Failures and latency are set per [`Operation`]; the client retries and reports them as it would those of
/// a broker. Time is tokio's: with a paused clock backoffs, latencies, leases and expiry pass at once.
#[derive(Debug)]
pub struct TestBus {
    /// The client: give it to the code under test.
    pub bus: BusClient,
    book: Arc<Book>,
    faults: Arc<Faults>,
}

impl TestBus {
    /// A fresh bus.
    #[must_use]
    pub fn new() -> Self {
        Self::with_codecs(Codecs::default())
    }

    /// A fresh bus that writes and reads with `codecs`.
    #[must_use]
    pub fn with_codecs(codecs: Codecs) -> Self {
        let (book, faults) = (Arc::new(Book::new()), Arc::<Faults>::default());
        let recorder = Recorder {
            inner: Arc::new(MemoryBus::new()),
            book: Arc::clone(&book),
            faults: Arc::clone(&faults),
        };
        let recorder: Arc<dyn Bus> = Arc::new(recorder);
        let connector = crate::Connector::new().codecs(codecs);
        Self {
            bus: connector.client(recorder, Settings::default()),
            book,
            faults,
        }
    }

    /// Waits until nothing is under way: every message that a live group or broadcast gets is handled to
    /// its end, retries, dead-lettering and everything that handlers published included.
    ///
    /// A worker that is paused or a handler that never returns makes it wait for ever; give the test a
    /// time-out.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn settled(&self) {
        let mut changes = self.book.changes();
        loop {
            changes.mark_unchanged();
            let quiet = self.is_quiet().await;
            // What has changed in the meantime may have been looked at too early.
            if quiet && !changes.has_changed().unwrap_or(false) {
                return;
            }
            if !quiet {
                // The end of a broadcast's handler changes nothing that is recorded.
                tokio::select! {
                    _ = changes.changed() => {}
                    () = self.bus.idle(), if self.bus.in_flight() > 0 => {}
                }
            }
        }
    }

    async fn is_quiet(&self) -> bool {
        if self.bus.in_flight() > 0 || !self.book.read(book::Entries::is_quiet) {
            return false;
        }
        // A group without members has nobody to wait for.
        match self.bus.adapter().admin().subscriptions().await {
            Ok(groups) => groups
                .iter()
                .all(|group| group.members == 0 || group.lag == 0),
            Err(_) => true,
        }
    }

    /// The events of type `E` that were published, oldest first; redriven copies are none.
    ///
    /// # Panics
    /// When a payload of such a type cannot be decoded: the test has found a mistake.
    #[must_use]
    #[expect(clippy::panic, reason = "a test helper fails the test")]
    pub fn published<E: Event>(&self) -> Vec<E> {
        let types = match E::types() {
            Ok(types) => types,
            Err(error) => panic!("the types of the event: {error}"),
        };
        let is_one = |message: &Message| {
            let name = message.metadata.event_type.as_deref();
            types.is_empty() || name.is_some_and(|name| types.iter().any(|known| known.is(name)))
        };
        let decode = |message: &Message| match E::from_message(message, self.bus.codecs()) {
            Ok(event) => event,
            Err(error) => panic!(
                "a published event on {} cannot be decoded: {error}",
                message.topic
            ),
        };
        self.messages()
            .iter()
            .filter(|message| is_one(message))
            .map(decode)
            .collect()
    }

    /// Every message that was published, oldest first; redriven copies are none.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        let published = |message: &&Arc<Message>| message.targeted.is_none();
        self.book.read(|entries| {
            entries
                .published
                .iter()
                .filter(published)
                .map(|message| Message::clone(message))
                .collect()
        })
    }

    /// How the attempts of the handler of `event_type` in `group` ended, oldest first. Broadcasts settle
    /// nothing and have none.
    #[must_use]
    pub fn outcomes(&self, group: &str, event_type: &str) -> Vec<Outcome> {
        let asked = |outcome: &&Outcome| {
            outcome.group.as_str() == group && outcome.event_type.as_deref() == Some(event_type)
        };
        self.book
            .read(|entries| entries.outcomes.iter().filter(asked).cloned().collect())
    }

    /// What `group` has given up so far, oldest first, also when it was redriven or purged since.
    #[must_use]
    pub fn dead_letters(&self, group: &str) -> Vec<DeadLetter> {
        let asked = |letter: &&DeadLetter| letter.subscription.group.as_str() == group;
        self.book
            .read(|entries| entries.dead_letters.iter().filter(asked).cloned().collect())
    }

    /// Lets the next `times` calls of `operation` fail with `kind`; of a batch each message counts.
    pub fn fail(&self, operation: Operation, times: u32, kind: ErrorKind) {
        self.faults.fail(operation, times, kind);
    }

    /// Makes `operation` slower by `latency` from now on; zero ends it.
    pub fn delay(&self, operation: Operation, latency: Duration) {
        self.faults.delay(operation, latency);
    }
}

impl Default for TestBus {
    fn default() -> Self {
        Self::new()
    }
}
