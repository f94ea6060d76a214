//! The dead letters of a namespace.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use bus_api::{Cursor, DeadLetter, DeadLetterId, DeadLetterPage, DeadLetterStore, Group, Result};

use crate::bus::MemoryBus;
use crate::error::invalid_argument;
use crate::retention::OVERHEAD;

/// The dead letters of a namespace, by group, in the order of writing.
#[derive(Debug, Default)]
pub(crate) struct DeadLetters {
    groups: BTreeMap<Group, Entries>,
    /// Numbers the entries; a number is never used again, so that cursors stay valid.
    last: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Entries {
    in_order: BTreeMap<u64, DeadLetter>,
    numbers: HashMap<DeadLetterId, u64>,
}

impl DeadLetters {
    /// Bytes that the entries take, with an estimate of their overhead.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes an entry; one of the same id stays as it is.
    pub(crate) fn write(&mut self, entry: DeadLetter) {
        let entries = self
            .groups
            .entry(entry.subscription.group.clone())
            .or_default();
        if entries.numbers.contains_key(&entry.id) {
            return;
        }
        self.last += 1;
        self.bytes += size(&entry);
        entries.numbers.insert(entry.id, self.last);
        entries.in_order.insert(self.last, entry);
    }

    fn groups(&self) -> Vec<Group> {
        self.groups.keys().cloned().collect()
    }

    fn count(&self, group: &Group) -> u64 {
        self.groups
            .get(group)
            .map_or(0, |entries| entries.in_order.len() as u64)
    }

    fn page(&self, group: &Group, after: u64, limit: usize) -> DeadLetterPage {
        let Some(entries) = self.groups.get(group) else {
            return DeadLetterPage::default();
        };
        let mut rest = entries.in_order.range(after.saturating_add(1)..);
        let page: Vec<_> = rest.by_ref().take(limit).collect();
        let next = page
            .last()
            .filter(|_| rest.next().is_some())
            .map(|(number, _)| Cursor(number.to_string().into()));
        DeadLetterPage {
            entries: page.into_iter().map(|(_, entry)| entry.clone()).collect(),
            next,
        }
    }

    fn get(&self, group: &Group, id: DeadLetterId) -> Option<DeadLetter> {
        let entries = self.groups.get(group)?;
        entries.in_order.get(entries.numbers.get(&id)?).cloned()
    }

    fn remove(&mut self, group: &Group, ids: &[DeadLetterId]) -> u64 {
        let Some(entries) = self.groups.get_mut(group) else {
            return 0;
        };
        let mut removed = 0;
        for id in ids {
            let number = entries.numbers.remove(id);
            if let Some(entry) = number.and_then(|number| entries.in_order.remove(&number)) {
                self.bytes -= size(&entry);
                removed += 1;
            }
        }
        if entries.in_order.is_empty() {
            self.groups.remove(group);
        }
        removed
    }
}

fn size(entry: &DeadLetter) -> u64 {
    (entry.message.size() + entry.error.text.len()) as u64 + OVERHEAD
}

#[async_trait]
impl DeadLetterStore for MemoryBus {
    async fn groups(&self) -> Result<Vec<Group>> {
        Ok(self.enter()?.dead.groups())
    }

    async fn count(&self, group: &Group) -> Result<u64> {
        Ok(self.enter()?.dead.count(group))
    }

    async fn page(
        &self,
        group: &Group,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<DeadLetterPage> {
        if limit == 0 {
            return Err(invalid_argument("a page has at least one entry"));
        }
        let after = match cursor {
            None => 0,
            Some(Cursor(text)) => text
                .parse()
                .map_err(|_| invalid_argument("the cursor is not one of this store"))?,
        };
        Ok(self.enter()?.dead.page(group, after, limit))
    }

    async fn get(&self, group: &Group, id: DeadLetterId) -> Result<Option<DeadLetter>> {
        Ok(self.enter()?.dead.get(group, id))
    }

    async fn remove(&self, group: &Group, ids: &[DeadLetterId]) -> Result<u64> {
        Ok(self.enter()?.dead.remove(group, ids))
    }
}
