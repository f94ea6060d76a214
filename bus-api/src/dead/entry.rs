//! A dead letter as users see it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::export::ExportedDeadLetter;
use crate::client::Core;
use crate::contract::{Cursor, DeadLetter};
use crate::error::Result;
use crate::event::Event;

/// A dead letter: the fields of [`DeadLetter`], and the event in it.
#[derive(Clone)]
pub struct DeadEntry {
    letter: DeadLetter,
    core: Arc<Core>,
}

/// Dead letters, in the order in which they were written.
#[derive(Clone, Debug)]
pub struct DeadPage {
    /// The entries.
    pub entries: Vec<DeadEntry>,
    /// Where the next page starts; `None` when everything was looked at. The next page can be empty.
    pub next: Option<Cursor>,
}

impl DeadEntry {
    pub(super) fn new(core: &Arc<Core>, letter: DeadLetter) -> Self {
        Self {
            letter,
            core: Arc::clone(core),
        }
    }

    /// The event, read with the codec that the content type of the message asks for.
    ///
    /// # Errors
    /// `Decode`, as the handler saw it, if that was the failure.
    pub fn decode<E: Event>(&self) -> Result<E> {
        E::from_message(&self.letter.message, &self.core.codecs)
    }

    /// The entry as plain texts and numbers, to write as JSON or as a table.
    #[must_use]
    pub fn export(&self) -> ExportedDeadLetter<'_> {
        ExportedDeadLetter::new(&self.letter)
    }

    /// The entry without the connection.
    #[must_use]
    pub fn into_inner(self) -> DeadLetter {
        self.letter
    }
}

impl Deref for DeadEntry {
    type Target = DeadLetter;

    fn deref(&self) -> &DeadLetter {
        &self.letter
    }
}

impl fmt::Debug for DeadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.letter, f)
    }
}
