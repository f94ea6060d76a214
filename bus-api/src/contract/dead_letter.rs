//! Dead letters: messages that a subscription gave up.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use crate::contract::message::{Message, MessageId, Origin};
use crate::contract::names::Group;
use crate::contract::subscription::SubscriptionId;
use crate::contract::token;
use crate::error::{Error, ErrorKind, Result};

/// Longest error text that an entry keeps, in bytes.
pub const MAX_FAILURE_BYTES: usize = 4096;

/// The identity of a dead letter: 32 hex digits, the same whenever the same failure is written again.
///
/// It is derived (the first 16 bytes of SHA-256) from subscription, topic, message id, origin position,
/// origin store time and redrive generation. So a crash between writing and settling makes no second
/// entry, and neither overlapping patterns, nor a recreated log, nor a redriven copy that fails again
/// falls on an entry of its own past.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeadLetterId([u8; 16]);

impl DeadLetterId {
    /// The identity of the entry that this subscription makes of this message.
    #[must_use]
    pub fn derive(
        subscription: &SubscriptionId,
        topic: &str,
        id: &MessageId,
        origin: &Origin,
        generation: u32,
    ) -> Self {
        let mut hash = Sha256::new();
        let parts: [&dyn fmt::Display; 6] = [
            &subscription.group,
            &subscription.pattern,
            &topic,
            id,
            &origin.position,
            &generation,
        ];
        for part in parts {
            let text = part.to_string();
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        let digest = hash.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(bytes)
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeadLetterId({self})")
    }
}

impl FromStr for DeadLetterId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| {
            Error::new(
                ErrorKind::InvalidArgument,
                "the id of a dead letter is 32 hex digits",
            )
            .with("id", token::shorten(text))
        })?;
        Ok(Self(bytes))
    }
}

/// Why a message was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The class, stable: one of the constants, or what the handler's error said.
    pub kind: Cow<'static, str>,
    /// The text of the error, cut at [`MAX_FAILURE_BYTES`].
    pub text: Box<str>,
}

impl Failure {
    /// The handler returned an error.
    pub const HANDLER: &'static str = "handler";
    /// The handler panicked.
    pub const PANIC: &'static str = "panic";
    /// The handler took too long.
    pub const TIMEOUT: &'static str = "timeout";
    /// A delivery was dropped without being settled.
    pub const DROPPED: &'static str = "dropped";
    /// The process died in the handler.
    pub const CRASH: &'static str = "crash";
    /// The payload could not be decoded.
    pub const DECODE: &'static str = "decode";
    /// The wire form of the message could not be read.
    pub const MALFORMED: &'static str = "malformed";
    /// No handler takes messages of this type.
    pub const UNKNOWN_TYPE: &'static str = "unknown_type";
    /// It expired before a handler saw it.
    pub const EXPIRED: &'static str = "expired";

    /// A failure whose text is cut at [`MAX_FAILURE_BYTES`], at a character boundary.
    #[must_use]
    pub fn new(kind: impl Into<Cow<'static, str>>, text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        Self {
            kind: kind.into(),
            text: token::head(text, MAX_FAILURE_BYTES).into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.text)
    }
}

/// A message that a subscription gave up, with everything needed to understand and to redrive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The identity of the entry.
    pub id: DeadLetterId,
    /// Which subscription gave it up.
    pub subscription: SubscriptionId,
    /// The message: payload, headers, id, key and topic as they were published.
    pub message: Arc<Message>,
    /// Where it was first stored.
    pub origin: Origin,
    /// How often it had been redriven.
    pub generation: u32,
    /// Attempts made.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub error: Failure,
    /// When the first attempt failed.
    pub first_failure: SystemTime,
    /// When the last attempt failed.
    pub last_failure: SystemTime,
}

/// A page of dead letters, oldest first.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterPage {
    /// The entries.
    pub entries: Vec<DeadLetter>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<Cursor>,
}

/// Where a page starts: opaque, valid for the store that gave it, also after entries were removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub Box<str>);

/// The dead letters of an adapter, by group. Entries are written by
/// [`Settlement::DeadLetter`](crate::Settlement::DeadLetter).
#[async_trait]
pub trait DeadLetterStore: Send + Sync {
    /// The groups that have entries, in order of their names.
    async fn groups(&self) -> Result<Vec<Group>>;

    /// How many entries `group` has, over all its patterns; exact, without reading them.
    async fn count(&self, group: &Group) -> Result<u64>;

    /// Up to `limit` entries, in the order of writing, after `cursor`; without blocking the broker for
    /// others however many there are.
    async fn page(
        &self,
        group: &Group,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<DeadLetterPage>;

    /// One entry.
    async fn get(&self, group: &Group, id: DeadLetterId) -> Result<Option<DeadLetter>>;

    /// Removes entries and returns how many there were; an id that is not there counts 0.
    async fn remove(&self, group: &Group, ids: &[DeadLetterId]) -> Result<u64>;
}
