//! Topics: where messages are published.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::contract::token;
use crate::error::{Error, ErrorKind, Result};

/// Most tokens of a topic or pattern.
pub const MAX_TOKENS: usize = 16;
/// Longest topic or pattern, in bytes.
pub const MAX_BYTES: usize = 200;

/// A checked topic: 1 to 16 dot-separated tokens of `[A-Za-z0-9_-]`, 1 to 64 bytes each, 200 in all.
///
/// Cloning is cheap. A topic needs no declaration: publishing to it is enough.
///
/// ```
/// use bus_api::{ErrorKind, Topic};
///
/// let topic = Topic::new("orders.placed")?;
/// assert_eq!(topic.tokens().collect::<Vec<_>>(), ["orders", "placed"]);
///
/// let error = Topic::new("orders.pla ced").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidTopic);
/// assert!(error.to_string().contains("pla ced"));
/// # Ok::<(), bus_api::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTopic`], naming the offending token.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        check_shape(text, "topic")?;
        for part in text.split('.') {
            token::check(part, "topic", text)?;
        }
        Ok(Self(text.into()))
    }

    /// The topic as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tokens between the dots; at least one.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The first token.
    #[must_use]
    pub fn root(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(root, _)| root)
    }
}

/// Checks the size and the number of tokens, which topics and patterns share.
pub(crate) fn check_shape(text: &str, what: &'static str) -> Result<()> {
    let problem = if text.is_empty() {
        format!("a {what} has at least one token")
    } else if text.len() > MAX_BYTES {
        format!(
            "a {what} has at most {MAX_BYTES} bytes; this one has {}",
            text.len()
        )
    } else {
        let tokens = text.split('.').count();
        if tokens <= MAX_TOKENS {
            return Ok(());
        }
        format!("a {what} has at most {MAX_TOKENS} tokens; this one has {tokens}")
    };
    Err(Error::new(ErrorKind::InvalidTopic, problem).with(what, token::shorten(text)))
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({})", self.0)
    }
}

impl AsRef<str> for Topic {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Topic {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Topic {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_exact() {
        assert!(Topic::new(vec!["a"; 16].join(".")).is_ok());
        assert!(Topic::new(vec!["a"; 17].join(".")).is_err());
        assert!(Topic::new("a".repeat(64)).is_ok());
        assert!(Topic::new("a".repeat(65)).is_err());
        let bytes_200 = format!("{0}.{0}.{0}.{1}", "a".repeat(64), "b".repeat(5));
        assert_eq!(bytes_200.len(), 200);
        assert!(Topic::new(&bytes_200).is_ok());
        assert!(Topic::new(format!("{bytes_200}b")).is_err());
    }

    #[test]
    fn the_error_names_the_offending_token() {
        for (text, named) in [
            ("", "at least one"),
            ("a..b", "\"\""),
            ("a.é.b", "é"),
            ("a.b*", "b*"),
            ("a.>", ">"),
        ] {
            let error = Topic::new(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidTopic, "{text}");
            assert!(error.to_string().contains(named), "{text}: {error}");
        }
    }
}
