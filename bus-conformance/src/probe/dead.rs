//! What a case asks about dead letters again and again.

use bus_api::{DeadEntry, DeadLetter, Filter, SubscriptionInfo};

use crate::context::Client;
use crate::outcome::{Violation, ensure_eq};
use crate::probe::note::Note;
use crate::probe::time::eventually;
use crate::probe::want::group as want;

impl Client {
    /// Every entry of a group, in the order of writing, read in pages.
    pub(crate) async fn buried(&self, group: &str) -> Result<Vec<DeadLetter>, Violation> {
        let (dead, mut entries, mut cursor) = (self.dead_letters(group), Vec::new(), None);
        loop {
            let page = dead.page(&Filter::default(), cursor.as_ref(), 100).await?;
            entries.extend(page.entries.into_iter().map(DeadEntry::into_inner));
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(entries),
            }
        }
    }

    /// How many entries a group has.
    pub(crate) async fn buried_count(&self, group: &str) -> Result<u64, Violation> {
        Ok(self.dead_letters(group).count(&Filter::default()).await?)
    }

    /// Waits until a group has exactly `count` entries, and returns them.
    pub(crate) async fn until_buried(
        &self,
        group: &str,
        count: usize,
    ) -> Result<Vec<DeadLetter>, Violation> {
        let mut counted = 0;
        let counting = eventually(format!("{count} dead letters of {group}"), async || {
            counted = self.buried_count(group).await?;
            Ok(counted >= count as u64)
        });
        if let Err(violation) = counting.await {
            let lag = |info: &SubscriptionInfo| {
                format!("{}: lag {}, pending {}", info.id, info.lag, info.pending)
            };
            let left = self.list().await;
            let left = left.map(|infos| infos.iter().map(lag).collect::<Vec<_>>());
            return Err(violation.because(format_args!("{counted} are counted, {left:?}")));
        }
        let entries = self.buried(group).await?;
        ensure_eq!(entries.len(), count, "dead letters of {group}");
        ensure_eq!(
            self.buried_count(group).await?,
            count as u64,
            "the count of dead letters of {group}"
        );
        Ok(entries)
    }

    /// Redrives what `filter` takes, all of it with success.
    pub(crate) async fn redrive(
        &self,
        group: &str,
        filter: &Filter,
        count: u64,
    ) -> Result<(), Violation> {
        let report = self.dead_letters(group).redrive(filter).await?;
        ensure_eq!(
            (report.matched, report.done, report.failed.len()),
            (count, count, 0),
            "matched, redriven and failed"
        );
        Ok(())
    }

    /// Purges what `filter` takes.
    pub(crate) async fn purge(
        &self,
        group: &str,
        filter: &Filter,
        count: u64,
    ) -> Result<(), Violation> {
        let report = self.dead_letters(group).purge(filter).await?;
        ensure_eq!(
            (report.matched, report.done, report.failed.len()),
            (count, count, 0),
            "matched, purged and failed"
        );
        Ok(())
    }

    /// Waits until a durable subscription has nothing left to settle.
    pub(crate) async fn until_settled(&self, group: &str, pattern: &str) -> Result<(), Violation> {
        eventually(
            format!("{group} on {pattern} has settled all"),
            async || Ok(self.info(&want(group, pattern)).await?.lag == 0),
        )
        .await
    }
}

/// The numbers of the notes in these entries, sorted.
pub(crate) fn buried_numbers(entries: &[DeadLetter]) -> Result<Vec<u64>, Violation> {
    let mut numbers = entries
        .iter()
        .map(|entry| Note::of(&entry.message).map(|note| note.number))
        .collect::<Result<Vec<_>, _>>()?;
    numbers.sort_unstable();
    Ok(numbers)
}
