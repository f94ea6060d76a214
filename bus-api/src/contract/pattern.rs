//! Patterns: what subscriptions ask for.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::contract::token;
use crate::contract::topic::{self, Topic};
use crate::error::{Error, ErrorKind, Result};

/// A checked pattern: a topic in which `*` stands for exactly one token, anywhere, and `>` for one or
/// more tokens at the end.
///
/// ```
/// use bus_api::{Pattern, Topic};
///
/// let pattern = Pattern::new("orders.*.eu.>")?;
/// assert!(pattern.matches(&Topic::new("orders.placed.eu.de.berlin")?));
/// assert!(!pattern.matches(&Topic::new("orders.placed.eu")?));
/// # Ok::<(), bus_api::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTopic`], naming the offending token.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        topic::check_shape(text, "pattern")?;
        let last = text.split('.').count() - 1;
        for (index, part) in text.split('.').enumerate() {
            match part {
                "*" => {}
                ">" if index == last => {}
                ">" => {
                    return Err(Error::new(
                        ErrorKind::InvalidTopic,
                        "token \">\" stands for the rest and is only allowed at the end",
                    )
                    .with("pattern", token::shorten(text)));
                }
                part => token::check(part, "pattern", text)?,
            }
        }
        Ok(Self(text.into()))
    }

    /// The pattern that matches every topic.
    #[must_use]
    pub fn all() -> Self {
        Self(">".into())
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens between the dots; at least one.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The topic that this pattern is, when it holds no wildcard.
    #[must_use]
    pub fn exact(&self) -> Option<Topic> {
        Topic::new(&*self.0).ok()
    }

    /// The first token, when it is no wildcard.
    #[must_use]
    pub fn root(&self) -> Option<&str> {
        self.tokens()
            .next()
            .filter(|token| !matches!(*token, "*" | ">"))
    }

    /// Whether `topic` is one of the topics that this pattern stands for.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        let mut topic = topic.tokens();
        for wanted in self.tokens() {
            match (wanted, topic.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(token)) if wanted == token => {}
                _ => return false,
            }
        }
        topic.next().is_none()
    }

    /// Whether some topic matches both patterns.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (mut left, mut right) = (self.tokens(), other.tokens());
        loop {
            match (left.next(), right.next()) {
                (None, None) => return true,
                (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
                (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.0)
    }
}

impl AsRef<str> for Pattern {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Pattern {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl From<Topic> for Pattern {
    /// A topic is the pattern that matches only itself.
    fn from(topic: Topic) -> Self {
        Self(topic.as_str().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, topic: &str) -> bool {
        Pattern::new(pattern)
            .unwrap()
            .matches(&Topic::new(topic).unwrap())
    }

    #[test]
    fn wildcards_follow_the_truth_table() {
        for (pattern, topic, expected) in [
            ("a", "a", true),
            ("a", "a.b", false),
            ("a.b", "a", false),
            ("*", "a", true),
            ("*", "a.b", false),
            (">", "a", true),
            (">", "a.b.c", true),
            ("a.>", "a", false),
            ("a.>", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.c", false),
            ("*.>", "a", false),
            ("*.>", "a.b", true),
            ("a.*.>", "a.b", false),
            ("A", "a", false),
        ] {
            assert_eq!(matches(pattern, topic), expected, "{pattern} x {topic}");
        }
    }

    #[test]
    fn the_rest_wildcard_is_only_allowed_at_the_end() {
        assert!(Pattern::new("a.>.b").is_err());
        assert!(Pattern::new("a>").is_err());
        assert!(Pattern::new("a*").is_err());
    }

    #[test]
    fn overlap_is_what_some_topic_proves() {
        for (left, right, expected) in [
            ("a.*", "*.b", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a.b", "a.c", false),
            ("*", "a.b", false),
            (">", "a.b", true),
        ] {
            let (left, right) = (Pattern::new(left).unwrap(), Pattern::new(right).unwrap());
            assert_eq!(left.overlaps(&right), expected, "{left} x {right}");
            assert_eq!(right.overlaps(&left), expected, "{right} x {left}");
        }
    }
}
