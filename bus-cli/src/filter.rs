//! Which dead letters.

use std::time::SystemTime;

use bus::{DeadLetterId, Filter};
use clap::Args;

use crate::when;

/// Which dead letters; several conditions are joined by "and".
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which dead letters")]
pub(crate) struct Selection {
    /// Whose topic matches this pattern
    #[arg(long, value_name = "PATTERN")]
    topic: Option<String>,
    /// Which the subscription of exactly this pattern gave up
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<String>,
    /// Whose event is of this type
    #[arg(long, value_name = "TYPE")]
    r#type: Option<String>,
    /// Whose error is of this kind, such as handler, timeout, decode
    #[arg(long, value_name = "KIND")]
    error_kind: Option<String>,
    /// Whose error text contains this
    #[arg(long, value_name = "TEXT")]
    error_contains: Option<String>,
    /// Given up at this time or later: RFC 3339, or how long ago, such as 1h
    #[arg(long, value_name = "TIME", value_parser = when::time)]
    since: Option<SystemTime>,
    /// Given up before this time
    #[arg(long, value_name = "TIME", value_parser = when::time)]
    until: Option<SystemTime>,
    /// With this id; can be given several times
    #[arg(long, value_name = "ID")]
    id: Vec<DeadLetterId>,
}

impl Selection {
    /// Whether nothing was said.
    pub(crate) fn is_all(&self) -> bool {
        self.topic.is_none()
            && self.pattern.is_none()
            && self.r#type.is_none()
            && self.error_kind.is_none()
            && self.error_contains.is_none()
            && self.since.is_none()
            && self.until.is_none()
            && self.id.is_empty()
    }

    pub(crate) fn filter(&self) -> Filter {
        let mut filter = Filter::default();
        if let Some(pattern) = &self.topic {
            filter = filter.topic(pattern);
        }
        if let Some(pattern) = &self.pattern {
            filter = filter.pattern(pattern);
        }
        if let Some(event_type) = &self.r#type {
            filter = filter.event_type(event_type);
        }
        if let Some(kind) = &self.error_kind {
            filter = filter.error_kind(kind);
        }
        if let Some(text) = &self.error_contains {
            filter = filter.error_contains(text);
        }
        if let Some(time) = self.since {
            filter = filter.since(time);
        }
        if let Some(time) = self.until {
            filter = filter.until(time);
        }
        self.id.iter().copied().fold(filter, Filter::id)
    }
}
