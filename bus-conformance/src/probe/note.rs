//! The event that the cases publish.

use std::borrow::Cow;
use std::hash::Hasher;

use bus_api::{Message, Raw, Result, Topic};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::outcome::{Violation, ensure, ensure_eq};

/// A numbered event that knows where it belongs: what arrives under another topic or key, or with other
/// bytes, is noticed on every receipt, whatever the case is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// Unique within the case.
    pub(crate) number: u64,
    /// Where it is published.
    pub(crate) topic: String,
    /// What orders it.
    pub(crate) key: Option<String>,
    sum: u64,
}

impl Note {
    /// The type of every note.
    pub(crate) const TYPE: &'static str = "conformance.note";

    /// A note without key.
    pub(crate) fn new(topic: &str, number: u64) -> Self {
        let mut note = Self {
            number,
            topic: topic.to_owned(),
            key: None,
            sum: 0,
        };
        note.sum = note.expected_sum();
        note
    }

    /// A note with a key.
    pub(crate) fn keyed(topic: &str, key: &str, number: u64) -> Self {
        let mut note = Self::new(topic, number);
        note.key = Some(key.to_owned());
        note.sum = note.expected_sum();
        note
    }

    /// What is published.
    pub(crate) fn raw(&self) -> Result<Raw> {
        let payload = serde_json::to_vec(self).map_err(|error| {
            bus_api::Error::new(bus_api::ErrorKind::Encode, "a note").caused_by(error)
        })?;
        let raw = Raw::new(
            Topic::new(&self.topic)?,
            Self::TYPE,
            "application/json",
            payload,
        );
        Ok(match &self.key {
            Some(key) => raw.with_key(key.clone().into_bytes()),
            None => raw,
        })
    }

    /// Reads a note back and checks that it arrived as it was published.
    pub(crate) fn read(
        topic: &Topic,
        key: Option<&Bytes>,
        payload: &Bytes,
    ) -> std::result::Result<Self, Violation> {
        let note: Self = serde_json::from_slice(payload).map_err(|error| {
            Violation::new(format_args!(
                "a payload of {} bytes on {topic} is not the note that was published: {error}",
                payload.len()
            ))
        })?;
        ensure_eq!(note.sum, note.expected_sum(), "the checksum of {note:?}");
        ensure_eq!(topic.as_str(), note.topic, "the topic of {note:?}");
        ensure!(
            key.map(|key| &key[..]) == note.key.as_deref().map(str::as_bytes),
            "the key of {note:?} came as {key:?}"
        );
        Ok(note)
    }

    /// Reads a note out of a wire message.
    pub(crate) fn of(message: &Message) -> std::result::Result<Self, Violation> {
        Self::read(&message.topic, message.key.as_ref(), &message.payload)
    }

    fn expected_sum(&self) -> u64 {
        // DefaultHasher::new has fixed keys: the same in every process of one build.
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(self.number);
        hasher.write(self.topic.as_bytes());
        hasher.write(self.key.as_deref().unwrap_or("\0none").as_bytes());
        hasher.finish() >> 12
    }
}

/// Notes of these numbers on one topic.
pub(crate) fn notes(topic: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<Note> {
    numbers
        .into_iter()
        .map(|number| Note::new(topic, number))
        .collect()
}

impl bus_api::Event for Note {
    fn types() -> Result<Vec<bus_api::EventType>> {
        Ok(vec![bus_api::EventType::new(
            Self::TYPE,
            bus_api::Pattern::all(),
        )])
    }

    fn event_type(&self) -> Cow<'static, str> {
        Self::TYPE.into()
    }

    fn topic(&self) -> Result<Topic> {
        Topic::new(&self.topic)
    }

    fn key(&self) -> Option<Bytes> {
        self.key.clone().map(|key| key.into_bytes().into())
    }

    fn encode(&self, codec: &dyn bus_api::Codec) -> Result<Bytes> {
        codec.to_bytes(self)
    }

    fn decode(_: Option<&str>, payload: &Bytes, codec: &dyn bus_api::Codec) -> Result<Self> {
        codec.from_bytes(payload)
    }
}
