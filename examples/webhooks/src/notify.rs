//! `notify`: tells a chat about every webhook, with the failures of real life.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bus::{BusClient, Envelope, HandlerResult, Retry, State, Worker};

use crate::events::GitHub;
use crate::publish::number;
use crate::tally::Tally;

/// How often `notify` tries.
pub const ATTEMPTS: u32 = 3;

/// What happens to a message to the chat, as long as the handler is not repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is posted.
    Sent,
    /// The chat is busy at the first attempt: announcements of releases come in bursts.
    Busy,
    /// Without a repository there is no channel. Trying again does not help, but `notify` cannot know.
    NoChannel,
    /// The chat takes nothing from bots. It says so, and `notify` does not try again.
    Refused,
}

impl Fate {
    pub fn of(event: &GitHub) -> Self {
        if event.is_by_bot() {
            Self::Refused
        } else if event.repository().is_none() {
            Self::NoChannel
        } else if event.kind() == "release" {
            Self::Busy
        } else {
            Self::Sent
        }
    }
}

/// Why the chat did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatError {
    Busy,
    NoChannel,
    Refused,
}

impl fmt::Display for ChatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "the chat is busy",
            Self::NoChannel => "no channel for what belongs to no repository",
            Self::Refused => "the chat takes nothing from bots",
        })
    }
}

impl std::error::Error for ChatError {}

/// The handler's side of the chat.
pub struct Notifier {
    /// First attempts, until it was repaired.
    pub delivered: Tally,
    /// What was posted, at whatever attempt.
    pub posted: Tally,
    /// What came after it was repaired.
    pub again: Tally,
    retried: AtomicU64,
    repaired: AtomicBool,
}

impl Notifier {
    /// For so many webhooks.
    pub fn new(webhooks: u64) -> Arc<Self> {
        Arc::new(Self {
            delivered: Tally::new(webhooks),
            posted: Tally::new(webhooks),
            again: Tally::new(webhooks),
            retried: AtomicU64::new(0),
            repaired: AtomicBool::new(false),
        })
    }

    /// The policy: three attempts with backoff, except for what the chat refuses for good.
    pub fn worker(self: &Arc<Self>, bus: &BusClient) -> Worker<Arc<Self>> {
        let backoff = Retry::exponential(Duration::from_millis(20), Duration::from_millis(200));
        bus.worker("notify")
            .state(Arc::clone(self))
            .pattern("github.>")
            .on(notify)
            .retry(
                backoff
                    .attempts(ATTEMPTS)
                    .dead_letter_if(|e: &ChatError| *e == ChatError::Refused),
            )
    }

    /// Mends the handler: there is a channel for everything now, and bots are welcome.
    pub fn repair(&self) {
        self.repaired.store(true, Ordering::Relaxed);
    }

    /// How often the handler ran because an earlier attempt had failed.
    pub fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    fn post(&self, event: &GitHub, attempt: u32) -> Result<(), ChatError> {
        match Fate::of(event) {
            _ if self.repaired.load(Ordering::Relaxed) => Ok(()),
            Fate::Sent => Ok(()),
            Fate::Busy if attempt > 1 => Ok(()),
            Fate::Busy => Err(ChatError::Busy),
            Fate::NoChannel => Err(ChatError::NoChannel),
            Fate::Refused => Err(ChatError::Refused),
        }
    }
}

async fn notify(e: Envelope<GitHub>, State(notifier): State<Arc<Notifier>>) -> HandlerResult {
    let number = number(&e.headers)?;
    if notifier.repaired.load(Ordering::Relaxed) {
        notifier.again.count(number);
    } else if e.attempt == 1 {
        notifier.delivered.count(number);
    } else {
        notifier.retried.fetch_add(1, Ordering::Relaxed);
    }
    notifier.post(&e.event, e.attempt)?;
    notifier.posted.count(number);
    Ok(())
}
