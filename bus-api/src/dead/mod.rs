//! Dead letters: looked at, counted, redriven, purged.

mod copy;
mod entry;
mod export;
mod filter;
mod purge;
mod redrive;
mod report;
mod scan;
mod sweep;

use std::sync::Arc;

use bytes::Bytes;

pub use self::entry::{DeadEntry, DeadPage};
pub use self::export::{ExportedDeadLetter, ShownBytes};
pub use self::filter::Filter;
pub use self::purge::Purge;
pub use self::redrive::Redrive;
pub use self::report::{DeadLetterCounts, DeadLetterReport};
use self::scan::Scan;
use crate::client::{BusClient, Core};
use crate::contract::{Cursor, DeadLetter, DeadLetterId, Group};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;

/// The dead letters of one group, over all its patterns; made by
/// [`BusClient::dead_letters`](crate::BusClient::dead_letters).
///
/// ```no_run
/// use bus_api::Filter;
/// # async fn example(bus: bus_api::BusClient) -> bus_api::Result<()> {
/// let dead = bus.dead_letters("mail");
/// let bounced = Filter::default().topic("orders.>").error_contains("550");
/// for letter in dead.page(&bounced, None, 100).await?.entries {
///     println!("{} {} {:?}", letter.attempts, letter.error, letter.decode::<bus_api::Raw>());
/// }
/// let report = dead.redrive(&bounced).rate(50).await?;
/// println!("{} of {} redriven", report.done, report.matched);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct DeadLetters {
    core: Arc<Core>,
    group: Result<Group>,
}

impl BusClient {
    /// The dead letters of `group`. A name that is no group is `InvalidTopic` when they are asked for
    /// something.
    #[must_use]
    pub fn dead_letters(&self, group: impl AsRef<str>) -> DeadLetters {
        DeadLetters {
            core: Arc::clone(self.core()),
            group: Group::new(group),
        }
    }

    /// The groups that have dead letters, in order of their names.
    ///
    /// # Errors
    /// What the store says; `Closed`.
    pub async fn dead_letter_groups(&self) -> Result<Vec<Group>> {
        self.core().check_open()?;
        self.core().bus.dead_letters().groups().await
    }
}

impl DeadLetters {
    fn group(&self) -> Result<&Group> {
        self.core.check_open()?;
        self.group.as_ref().map_err(Clone::clone)
    }

    /// Up to `limit` matching entries after `cursor`, in the order in which they were written.
    ///
    /// # Errors
    /// `InvalidTopic` for a pattern of the filter; what the store says; `Closed`.
    pub async fn page(
        &self,
        filter: &Filter,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<DeadPage> {
        let mut scan = Scan::new(&self.core, self.group()?, filter, cursor.cloned())?;
        let letters = scan.next(limit).await?.into_iter();
        Ok(DeadPage {
            entries: letters
                .map(|letter| DeadEntry::new(&self.core, letter))
                .collect(),
            next: scan.cursor(),
        })
    }

    /// How many entries match. All of a group are counted without reading them.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub async fn count(&self, filter: &Filter) -> Result<u64> {
        const AT_ONCE: usize = 1000;
        let group = self.group()?;
        if filter.is_all() {
            filter.check()?;
            return self.core.bus.dead_letters().count(group).await;
        }
        let mut scan = Scan::new(&self.core, group, filter, None)?;
        let mut count = 0;
        loop {
            let found = scan.next(AT_ONCE).await?.len();
            if found == 0 {
                return Ok(count);
            }
            count += found as u64;
        }
    }

    /// One entry, if it is there.
    ///
    /// # Errors
    /// What the store says; `Closed`.
    pub async fn get(&self, id: DeadLetterId) -> Result<Option<DeadEntry>> {
        let letter = self.core.bus.dead_letters().get(self.group()?, id).await?;
        Ok(letter.map(|letter| DeadEntry::new(&self.core, letter)))
    }

    /// Removes the matching entries for good; `Filter::default()` is all of the group.
    pub fn purge(&self, filter: &Filter) -> Purge {
        Purge::new(Arc::clone(&self.core), self.group.clone(), filter.clone())
    }

    /// Sends the matching entries back to the subscription that gave them up, and to no other;
    /// `Filter::default()` is all of the group.
    ///
    /// The copy keeps id, payload, key and headers; its attempts start anew. The entry is removed once the
    /// broker has the copy. A copy that fails again is a new entry, which the same redrive leaves alone.
    pub fn redrive(&self, filter: &Filter) -> Redrive {
        Redrive::new(Arc::clone(&self.core), self.group.clone(), filter.clone())
    }

    /// Redrives one entry with another payload, of the same type and content type.
    ///
    /// # Errors
    /// `NotFound` when the entry is not there; `TooLarge`; why the copy was not stored.
    pub async fn redrive_edited(&self, id: DeadLetterId, payload: impl Into<Bytes>) -> Result<()> {
        let payload = payload.into();
        let mut entry = self.existing(id).await?;
        Arc::make_mut(&mut entry.message).payload = payload;
        self.redrive_entry(entry).await
    }

    /// Redrives one entry with `event` in it; topic, id, key and headers stay.
    ///
    /// # Errors
    /// As [`redrive_edited`](Self::redrive_edited); `Encode`.
    pub async fn redrive_as<E: Event>(&self, id: DeadLetterId, event: &E) -> Result<()> {
        let codec = self.core.codecs.default_codec();
        let draft = event.to_message(codec.as_ref(), self.core.metadata())?;
        let mut entry = self.existing(id).await?;
        let message = Arc::make_mut(&mut entry.message);
        message.payload = draft.payload;
        message.metadata.event_type = draft.metadata.event_type;
        message.metadata.content_type = draft.metadata.content_type;
        message.metadata.dataschema = draft.metadata.dataschema;
        self.redrive_entry(entry).await
    }

    async fn existing(&self, id: DeadLetterId) -> Result<DeadLetter> {
        let group = self.group()?;
        let found = self.core.bus.dead_letters().get(group, id).await?;
        found.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "there is no such dead letter")
                .transport(self.core.transport())
                .with("group", group)
                .with("id", id)
        })
    }

    /// Redrives one entry whose message was edited.
    async fn redrive_entry(&self, entry: DeadLetter) -> Result<()> {
        let (group, mut report) = (self.group()?, DeadLetterReport::default());
        let dedup_id = copy::edited_dedup_id;
        redrive::redrive(&self.core, group, vec![entry], dedup_id, &mut report).await;
        match report.failed.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}
