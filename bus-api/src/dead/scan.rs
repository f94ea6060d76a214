//! Reading the entries that match a filter, page by page.

use std::sync::Arc;

use super::filter::Filter;
use crate::client::Core;
use crate::contract::{Cursor, DeadLetter, Group};
use crate::error::Result;

/// Entries looked at in one call.
const LOOKED_AT: usize = 256;

/// Reads the entries of a group that match a filter, in the order of writing; each once, also while
/// others are removed.
pub(super) struct Scan<'a> {
    core: &'a Arc<Core>,
    group: &'a Group,
    filter: &'a Filter,
    cursor: Option<Cursor>,
    ended: bool,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        core: &'a Arc<Core>,
        group: &'a Group,
        filter: &'a Filter,
        cursor: Option<Cursor>,
    ) -> Result<Self> {
        filter.check()?;
        core.check_open()?;
        Ok(Self {
            core,
            group,
            filter,
            cursor,
            ended: false,
        })
    }

    /// Up to `limit` matching entries; fewer only at the end.
    pub(super) async fn next(&mut self, limit: usize) -> Result<Vec<DeadLetter>> {
        if !self.filter.wanted_ids().is_empty() {
            return self.wanted(limit).await;
        }
        let mut found = Vec::new();
        while found.len() < limit && !self.ended {
            self.look(&mut found, limit).await?;
        }
        Ok(found)
    }

    /// Where to go on; `None` at the end.
    pub(super) fn cursor(self) -> Option<Cursor> {
        self.cursor.filter(|_| !self.ended)
    }

    /// Looks at one page. When it holds more matches than are wanted, it is read again up to the last
    /// wanted one, because only the store knows the cursor behind an entry.
    async fn look(&mut self, found: &mut Vec<DeadLetter>, limit: usize) -> Result<()> {
        let wanted = limit - found.len();
        let store = self.core.bus.dead_letters();
        // Where every entry matches, more would be read for nothing.
        let mut size = if self.filter.is_all() {
            wanted
        } else {
            wanted.max(LOOKED_AT)
        };
        loop {
            let page = store.page(self.group, self.cursor.as_ref(), size).await?;
            let one_too_many = page
                .entries
                .iter()
                .enumerate()
                .filter(|(_, entry)| self.filter.matches(entry))
                .map(|(index, _)| index)
                .nth(wanted);
            if let Some(one_too_many) = one_too_many {
                // Smaller than the page and never 0: at least one wanted entry lies before it.
                size = one_too_many;
                continue;
            }
            self.ended = page.next.is_none();
            self.cursor = page.next;
            let entries = page.entries.into_iter();
            found.extend(entries.filter(|entry| self.filter.matches(entry)));
            return Ok(());
        }
    }

    /// The entries whose ids were asked for, in that order. The cursor is the number of ids done.
    async fn wanted(&mut self, limit: usize) -> Result<Vec<DeadLetter>> {
        let ids = self.filter.wanted_ids();
        let done = |cursor: &Cursor| cursor.0.parse::<usize>().unwrap_or(ids.len());
        let mut next = self.cursor.as_ref().map_or(0, done);
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(id) = ids.get(next)
        {
            let seen = ids.iter().take(next).any(|other| other == id);
            next += 1;
            if !seen {
                let entry = self.core.bus.dead_letters().get(self.group, *id).await?;
                found.extend(entry.filter(|entry| self.filter.matches(entry)));
            }
        }
        self.ended = next >= ids.len();
        self.cursor = Some(Cursor(next.to_string().into()));
        Ok(found)
    }
}
