//! What happens in one transaction.

use anyhow::Result;
use bus::{Codecs, Context, Event, Metadata, ids};
use redb::{ReadableTable, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::outbox::{self, Outgoing};
use super::table::{Table, decode, encode};

/// Why something is published.
#[derive(Debug)]
pub struct Cause {
    /// What all messages about one order share.
    pub correlation: String,
    /// The message that was handled, if it was one.
    pub message: Option<String>,
}

impl Cause {
    pub fn of(context: &Context) -> Self {
        let metadata = context.metadata();
        let id = metadata.id.to_string();
        Self {
            correlation: metadata.correlation_id.as_deref().unwrap_or(&id).to_owned(),
            message: Some(id),
        }
    }
}

/// A transaction: documents are read and written, messages are published, all or nothing of it.
pub struct Work<'t> {
    transaction: &'t WriteTransaction,
    cause: Cause,
    published: bool,
}

impl<'t> Work<'t> {
    pub(super) fn new(transaction: &'t WriteTransaction, cause: Cause) -> Self {
        Self {
            transaction,
            cause,
            published: false,
        }
    }

    pub(super) fn transaction(&self) -> &'t WriteTransaction {
        self.transaction
    }

    /// What the messages about this have in common.
    pub fn correlation(&self) -> &str {
        &self.cause.correlation
    }

    pub(super) fn has_published(&self) -> bool {
        self.published
    }

    pub fn get<T: DeserializeOwned>(&self, table: &Table<T>, name: &str) -> Result<Option<T>> {
        let table = self.transaction.open_table(table.definition())?;
        let found = table.get(name)?;
        found.map(|found| decode(found.value())).transpose()
    }

    pub fn put<T: Serialize>(&self, table: &Table<T>, name: &str, document: &T) -> Result<()> {
        let mut table = self.transaction.open_table(table.definition())?;
        table.insert(name, encode(document)?.as_slice())?;
        Ok(())
    }

    /// Writes `event` into the outbox. It gets its id here, before anything can go wrong on its way.
    pub fn publish<E: Event>(&mut self, event: &E) -> Result<()> {
        let codecs = Codecs::default();
        // Source and time are those of the publishing; the relay fills them in.
        let blank = Metadata::new(ids::next(), "".into(), bus::clock::now());
        let message = event.to_message(codecs.default_codec().as_ref(), blank)?;
        let outgoing = Outgoing {
            id: message.metadata.id.to_string(),
            topic: message.topic.to_string(),
            event_type: message.metadata.event_type.unwrap_or_default().into_owned(),
            content_type: message
                .metadata
                .content_type
                .unwrap_or_default()
                .into_owned(),
            key: message.key.map(|key| key.to_vec()),
            payload: message.payload.to_vec(),
            correlation: self.cause.correlation.clone(),
            causation: self.cause.message.clone(),
        };
        outbox::push(self.transaction, &outgoing)?;
        self.published = true;
        Ok(())
    }
}
