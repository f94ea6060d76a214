//! The state of a service: an embedded database file of its own, with an inbox and an outbox.
//!
//! A message is applied once, although it can come several times: its id goes into the inbox in the same
//! transaction as its effect. What the service publishes because of it goes into the outbox in that
//! transaction, too; the [relay](relay::run) publishes it afterwards, at restart again where it is unsure,
//! under the same id, so that the inbox of whoever receives it sees that it is the same.

mod inbox;
mod outbox;
pub mod relay;
mod table;
#[cfg(test)]
mod tests;
mod work;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bus::{Context, HandlerResult};
use redb::{Database, ReadableDatabase};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

pub use inbox::Inbox;
pub use table::{Table, View};
pub use work::{Cause, Work};

/// The database of a service. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Store {
    database: Arc<Database>,
    /// Rings when there is something new in the outbox.
    bell: Arc<Notify>,
    inbox: Inbox,
}

impl Store {
    /// Opens the file, or makes it. A file belongs to one process at a time.
    pub fn open(path: &Path, inbox: Inbox) -> Result<Self> {
        let database =
            Database::create(path).with_context(|| format!("cannot open {}", path.display()))?;
        let transaction = database.begin_write()?;
        inbox::prune(&transaction)?;
        transaction.commit()?;
        Ok(Self {
            database: Arc::new(database),
            bell: Arc::default(),
            inbox,
        })
    }

    /// Applies `effect` because of the message of `context`, unless that has been done.
    pub async fn once<F>(&self, context: &Context, effect: F) -> HandlerResult
    where
        F: FnOnce(&mut Work<'_>) -> Result<()> + Send + 'static,
    {
        let id = context.metadata().id.to_string();
        let cause = Cause::of(context);
        let inbox = self.inbox;
        self.transact(cause, move |work| {
            if inbox.is_new(work.transaction(), &id)? {
                effect(work)?;
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Applies `effect` because of something else, such as the time.
    pub async fn transact<F>(&self, cause: Cause, effect: F) -> Result<()>
    where
        F: FnOnce(&mut Work<'_>) -> Result<()> + Send + 'static,
    {
        let store = self.clone();
        // A commit waits for the disk, and for the transaction before it.
        spawn_blocking(move || {
            let transaction = store.database.begin_write()?;
            let mut work = Work::new(&transaction, cause);
            // Without a commit nothing of it stays.
            effect(&mut work)?;
            let published = work.has_published();
            transaction.commit()?;
            if published {
                store.bell.notify_one();
            }
            Ok(())
        })
        .await?
    }

    /// Reads.
    pub async fn read<T: Send + 'static>(
        &self,
        reading: impl FnOnce(&View) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.clone();
        spawn_blocking(move || reading(&View::new(store.database.begin_read()?))).await?
    }
}
