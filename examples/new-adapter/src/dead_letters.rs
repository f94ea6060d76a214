//! Dead letters: written by settling, read and removed here.

use async_trait::async_trait;
use bus_api::{
    Cursor, DeadLetter, DeadLetterId, DeadLetterPage, DeadLetterStore, Error, ErrorKind, Group,
    Result,
};

use crate::bus::ShelfBus;

#[async_trait]
impl DeadLetterStore for ShelfBus {
    async fn groups(&self) -> Result<Vec<Group>> {
        Ok(self
            .shelf
            .lock()
            .dead
            .iter()
            .filter(|(_, e)| !e.is_empty())
            .map(|(g, _)| g.clone())
            .collect())
    }

    async fn count(&self, group: &Group) -> Result<u64> {
        Ok(self
            .shelf
            .lock()
            .dead
            .get(group)
            .map_or(0, |entries| entries.len() as u64))
    }

    async fn page(
        &self,
        group: &Group,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<DeadLetterPage> {
        let state = self.shelf.lock();
        let entries = state.dead.get(group).map_or(&[][..], Vec::as_slice);
        // The cursor is the last entry that was shown. A real store has numbers that survive removals.
        let begin = match cursor {
            None => 0,
            Some(cursor) => {
                let last: DeadLetterId = cursor.0.parse()?;
                let found = entries.iter().position(|entry| entry.id == last);
                found.ok_or_else(|| {
                    Error::new(ErrorKind::NotFound, "the cursor's entry was removed")
                })? + 1
            }
        };
        let page: Vec<DeadLetter> = entries[begin..].iter().take(limit).cloned().collect();
        let more = begin + page.len() < entries.len();
        let next = page
            .last()
            .filter(|_| more)
            .map(|last| Cursor(last.id.to_string().into()));
        Ok(DeadLetterPage {
            entries: page,
            next,
        })
    }

    async fn get(&self, group: &Group, id: DeadLetterId) -> Result<Option<DeadLetter>> {
        let state = self.shelf.lock();
        Ok(state
            .dead
            .get(group)
            .and_then(|entries| entries.iter().find(|e| e.id == id))
            .cloned())
    }

    async fn remove(&self, group: &Group, ids: &[DeadLetterId]) -> Result<u64> {
        let mut state = self.shelf.lock();
        let Some(entries) = state.dead.get_mut(group) else {
            return Ok(0);
        };
        let before = entries.len();
        entries.retain(|entry| !ids.contains(&entry.id));
        Ok((before - entries.len()) as u64)
    }
}
