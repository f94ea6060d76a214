//! Which dead letters.

use std::time::SystemTime;

use crate::contract::{DeadLetter, DeadLetterId, Pattern};
use crate::error::{Error, Result};

/// Which dead letters: one filter for counting, paging, purging and redriving.
///
/// The default is all of a group. Conditions are joined by "and"; several ids, by "or". A pattern that
/// breaks the grammar is `InvalidTopic` when the filter is used.
///
/// ```
/// use bus_api::Filter;
///
/// let bounced = Filter::default().topic("orders.>").error_contains("550");
/// # let _ = bounced;
/// ```
#[derive(Clone, Debug, Default)]
pub struct Filter {
    topic: Option<Pattern>,
    pattern: Option<Pattern>,
    event_type: Option<String>,
    error_kind: Option<String>,
    error_text: Option<String>,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    ids: Vec<DeadLetterId>,
    problem: Option<Error>,
}

impl Filter {
    /// The message's topic matches this pattern.
    #[must_use]
    pub fn topic(mut self, pattern: impl AsRef<str>) -> Self {
        self.topic = self.checked(pattern.as_ref());
        self
    }

    /// The subscription that gave it up has exactly this pattern: one of several of the group.
    #[must_use]
    pub fn pattern(mut self, pattern: impl AsRef<str>) -> Self {
        self.pattern = self.checked(pattern.as_ref());
        self
    }

    fn checked(&mut self, pattern: &str) -> Option<Pattern> {
        Pattern::new(pattern)
            .map_err(|error| self.problem = Some(error))
            .ok()
    }

    /// The event is of this type.
    #[must_use]
    pub fn event_type(mut self, event_type: impl Into<String>) -> Self {
        self.event_type = Some(event_type.into());
        self
    }

    /// The error is of this kind; see the constants of [`Failure`](crate::Failure).
    #[must_use]
    pub fn error_kind(mut self, kind: impl Into<String>) -> Self {
        self.error_kind = Some(kind.into());
        self
    }

    /// The text of the error contains this, letter by letter.
    #[must_use]
    pub fn error_contains(mut self, text: impl Into<String>) -> Self {
        self.error_text = Some(text.into());
        self
    }

    /// Given up at this time or later.
    #[must_use]
    pub fn since(mut self, time: SystemTime) -> Self {
        self.since = Some(time);
        self
    }

    /// Given up before this time.
    #[must_use]
    pub fn until(mut self, time: SystemTime) -> Self {
        self.until = Some(time);
        self
    }

    /// This entry; call it again for more.
    #[must_use]
    pub fn id(mut self, id: DeadLetterId) -> Self {
        self.ids.push(id);
        self
    }

    /// Whether `entry` fulfils every condition.
    #[must_use]
    pub fn matches(&self, entry: &DeadLetter) -> bool {
        let (message, at) = (&entry.message, entry.last_failure);
        let event_type = message.metadata.event_type.as_deref();
        all(&self.topic, |pattern| pattern.matches(&message.topic))
            && all(&self.pattern, |pattern| {
                *pattern == entry.subscription.pattern
            })
            && all(&self.event_type, |name| event_type == Some(name))
            && all(&self.error_kind, |kind| entry.error.kind == **kind)
            && all(&self.error_text, |text| entry.error.text.contains(&**text))
            && all(&self.since, |since| at >= *since)
            && all(&self.until, |until| at < *until)
            && (self.ids.is_empty() || self.ids.contains(&entry.id))
    }

    /// # Errors
    /// `InvalidTopic` of a pattern that was given.
    pub(super) fn check(&self) -> Result<()> {
        self.problem.clone().map_or(Ok(()), Err)
    }

    /// The ids asked for; entries are then fetched one by one instead of looking at all.
    pub(super) fn wanted_ids(&self) -> &[DeadLetterId] {
        &self.ids
    }

    /// Whether every entry matches.
    pub(super) fn is_all(&self) -> bool {
        self.topic.is_none()
            && self.pattern.is_none()
            && self.event_type.is_none()
            && self.error_kind.is_none()
            && self.error_text.is_none()
            && self.since.is_none()
            && self.until.is_none()
            && self.ids.is_empty()
    }
}

fn all<T>(condition: &Option<T>, holds: impl FnOnce(&T) -> bool) -> bool {
    condition.as_ref().is_none_or(holds)
}
