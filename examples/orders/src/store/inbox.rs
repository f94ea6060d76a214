//! The ids of the messages that were applied.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

/// The id of a message, and when it was applied, in seconds since 1970.
const INBOX: TableDefinition<'_, &str, u64> = TableDefinition::new("inbox");
/// Longer than the bus keeps a message, a dead letter included: an id that is gone cannot come again.
const KEPT: Duration = Duration::from_secs(60 * 60 * 24 * 60);

/// The inbox of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbox {
    Kept,
    /// What a service would be without one: it shows that the check is able to fail.
    #[cfg(test)]
    Removed,
}

impl Inbox {
    /// Writes the id down; `false` when it is there already.
    pub fn is_new(self, transaction: &WriteTransaction, id: &str) -> Result<bool> {
        let mut inbox = transaction.open_table(INBOX)?;
        let before = inbox.insert(id, now())?;
        Ok(match self {
            Self::Kept => before.is_none(),
            #[cfg(test)]
            Self::Removed => true,
        })
    }
}

/// Forgets what is too old to come again.
pub fn prune(transaction: &WriteTransaction) -> Result<()> {
    let oldest = now().saturating_sub(KEPT.as_secs());
    let mut inbox = transaction.open_table(INBOX)?;
    if inbox.first()?.is_some() {
        inbox.retain(|_, applied| applied >= oldest)?;
    }
    Ok(())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
