//! A dead letter as plain texts and numbers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use serde::Serialize;

use crate::contract::DeadLetter;

/// A dead letter as plain texts and numbers; made by [`DeadEntry::export`](crate::DeadEntry::export).
///
/// It holds the payload: show it only to whom the payload may be shown.
#[derive(Clone, Serialize)]
#[non_exhaustive]
pub struct ExportedDeadLetter<'a> {
    /// 32 hex digits.
    pub id: String,
    /// The group that gave it up.
    pub group: &'a str,
    /// The pattern of the subscription that gave it up.
    pub pattern: &'a str,
    /// Where the message was published.
    pub topic: &'a str,
    /// Where it was first stored.
    pub position: String,
    /// When it was first stored, RFC 3339.
    pub stored_at: String,
    /// How often it had been redriven.
    pub generation: u32,
    /// Attempts made.
    pub attempts: u32,
    /// The class of the last error.
    pub error_kind: &'a str,
    /// The text of the last error.
    pub error_text: &'a str,
    /// When the first attempt failed, RFC 3339.
    pub first_failure: String,
    /// When the last attempt failed, RFC 3339.
    pub last_failure: String,
    /// The id of the message.
    pub message_id: String,
    /// The type of event.
    pub event_type: Option<&'a str>,
    /// Who published it.
    pub source: &'a str,
    /// How the payload is encoded.
    pub content_type: Option<&'a str>,
    /// What orders it.
    pub key: Option<ShownBytes<'a>>,
    /// Application headers.
    pub headers: BTreeMap<&'a str, &'a str>,
    /// The payload.
    pub payload: ShownBytes<'a>,
}

impl<'a> ExportedDeadLetter<'a> {
    pub(super) fn new(letter: &'a DeadLetter) -> Self {
        let metadata = &letter.message.metadata;
        Self {
            id: letter.id.to_string(),
            group: letter.subscription.group.as_str(),
            pattern: letter.subscription.pattern.as_str(),
            topic: letter.message.topic.as_str(),
            position: letter.origin.position.to_string(),
            stored_at: time_text(letter.origin.stored_at),
            generation: letter.generation,
            attempts: letter.attempts,
            error_kind: &letter.error.kind,
            error_text: &letter.error.text,
            first_failure: time_text(letter.first_failure),
            last_failure: time_text(letter.last_failure),
            message_id: metadata.id.to_string(),
            event_type: metadata.event_type.as_deref(),
            source: &metadata.source,
            content_type: metadata.content_type.as_deref(),
            key: letter.message.key.as_deref().map(ShownBytes::new),
            headers: letter.message.headers.iter().collect(),
            payload: ShownBytes::new(&letter.message.payload),
        }
    }
}

impl fmt::Debug for ExportedDeadLetter<'_> {
    /// Without payload and headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportedDeadLetter")
            .field("id", &self.id)
            .field("group", &self.group)
            .field("topic", &self.topic)
            .field("error_kind", &self.error_kind)
            .finish_non_exhaustive()
    }
}

/// Bytes to show: text where they are UTF-8, hex digits otherwise.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShownBytes<'a> {
    /// They are UTF-8.
    Text(&'a str),
    /// They are not.
    Hex(String),
}

impl<'a> ShownBytes<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Hex(hex::encode(bytes)),
        }
    }
}

impl fmt::Debug for ShownBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShownBytes(..)")
    }
}

/// Empty for a time beyond what RFC 3339 can say.
fn time_text(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| time.to_string())
}
