//! What is to be published: written in the transaction of the effect, removed once the bus has it.

use anyhow::Result;
use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, TableError,
    WriteTransaction,
};
use serde::{Deserialize, Serialize};

/// A message by the order in which it was written.
const OUTBOX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outbox");

/// A message as it will be published, every time the same.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outgoing {
    pub id: String,
    pub topic: String,
    pub event_type: String,
    pub content_type: String,
    pub key: Option<Vec<u8>>,
    pub payload: Vec<u8>,
    pub correlation: String,
    pub causation: Option<String>,
}

pub fn push(transaction: &WriteTransaction, outgoing: &Outgoing) -> Result<()> {
    let mut outbox = transaction.open_table(OUTBOX)?;
    let next = outbox.last()?.map_or(0, |(last, _)| last.value() + 1);
    outbox.insert(next, serde_json::to_vec(outgoing)?.as_slice())?;
    Ok(())
}

/// The oldest, at most `most`.
pub fn oldest(transaction: &ReadTransaction, most: usize) -> Result<Vec<(u64, Outgoing)>> {
    let outbox = match transaction.open_table(OUTBOX) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        outbox => outbox?,
    };
    let mut found = Vec::new();
    for entry in outbox.iter()?.take(most) {
        let (number, outgoing) = entry?;
        found.push((number.value(), serde_json::from_slice(outgoing.value())?));
    }
    Ok(found)
}

/// How many there are.
pub fn count(transaction: &ReadTransaction) -> Result<u64> {
    match transaction.open_table(OUTBOX) {
        Err(TableError::TableDoesNotExist(_)) => Ok(0),
        outbox => Ok(outbox?.len()?),
    }
}

pub fn remove(transaction: &WriteTransaction, numbers: &[u64]) -> Result<()> {
    let mut outbox = transaction.open_table(OUTBOX)?;
    for number in numbers {
        outbox.remove(number)?;
    }
    Ok(())
}
