//! Documents by name.

use std::marker::PhantomData;

use anyhow::Result;
use redb::{ReadTransaction, TableDefinition, TableError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::outbox;

/// A table of documents of one type.
pub struct Table<T> {
    name: &'static str,
    of: PhantomData<T>,
}

impl<T> Table<T> {
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            of: PhantomData,
        }
    }

    pub(super) fn definition(&self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(self.name)
    }
}

pub(super) fn encode(document: &impl Serialize) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(document)?)
}

pub(super) fn decode<T: DeserializeOwned>(document: &[u8]) -> Result<T> {
    Ok(serde_json::from_slice(document)?)
}

/// What the database holds at one moment.
pub struct View(ReadTransaction);

impl View {
    pub(super) fn new(transaction: ReadTransaction) -> Self {
        Self(transaction)
    }

    pub(super) fn transaction(&self) -> &ReadTransaction {
        &self.0
    }

    /// How many messages wait in the outbox.
    pub fn unpublished(&self) -> Result<u64> {
        outbox::count(&self.0)
    }

    /// One document.
    pub fn get<T: DeserializeOwned>(&self, table: &Table<T>, name: &str) -> Result<Option<T>> {
        let table = match self.0.open_table(table.definition()) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            table => table?,
        };
        let found = table.get(name)?;
        found.map(|found| decode(found.value())).transpose()
    }

    /// All documents whose names start with `prefix`.
    pub fn all<T: DeserializeOwned>(&self, table: &Table<T>, prefix: &str) -> Result<Vec<T>> {
        let table = match self.0.open_table(table.definition()) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let mut all = Vec::new();
        for entry in table.range(prefix..)? {
            let (name, document) = entry?;
            if !name.value().starts_with(prefix) {
                break;
            }
            all.push(decode(document.value())?);
        }
        Ok(all)
    }
}
