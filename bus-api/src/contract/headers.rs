//! Header fields of a message.

use std::fmt;

use crate::contract::token;
use crate::error::{Error, ErrorKind, Result};

/// Prefixes that belong to the wire formats and to the bus itself.
pub const RESERVED_PREFIXES: [&str; 4] = ["ce-", "ce_", "bus-", "nats-"];

/// Longest header name, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// Application headers: single-valued, in the order in which they were first set.
///
/// A name is `[a-z0-9][a-z0-9_-]{0,63}` and starts with none of [`RESERVED_PREFIXES`]. A value is any
/// Unicode text, the empty one and ones with line breaks or outer spaces included.
///
/// ```
/// use bus_api::Headers;
///
/// let mut headers = Headers::new();
/// headers.insert("tenant", "a")?;
/// assert_eq!(headers.get("tenant"), Some("a"));
/// assert!(headers.insert("Tenant", "b").is_err());
/// assert!(headers.insert("bus-tenant", "b").is_err());
/// # Ok::<(), bus_api::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Box<str>, Box<str>)>);

impl Headers {
    /// No headers; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sets `name` to `value`, replacing an earlier value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the name breaks the grammar or is reserved.
    pub fn insert(&mut self, name: impl AsRef<str>, value: impl Into<Box<str>>) -> Result<()> {
        let name = name.as_ref();
        check_name(name)?;
        self.set(name, value);
        Ok(())
    }

    /// Sets a header of another producer's message as it stands, without judging its name.
    ///
    /// For adapters: what a foreign producer wrote is handed on, not refused.
    pub fn set(&mut self, name: impl AsRef<str>, value: impl Into<Box<str>>) {
        let (name, value) = (name.as_ref(), value.into());
        match self.0.iter_mut().find(|(known, _)| &**known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.into(), value)),
        }
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| &**known == name)
            .map(|(_, value)| &**value)
    }

    /// Removes `name` and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<Box<str>> {
        let index = self.0.iter().position(|(known, _)| &**known == name)?;
        Some(self.0.remove(index).1)
    }

    /// All pairs, in the order in which the names were first set.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Number of headers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }
}

fn check_name(name: &str) -> Result<()> {
    let fits = (1..=MAX_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
        && name.as_bytes()[0].is_ascii_alphanumeric();
    let problem = if !fits {
        "a header name is [a-z0-9][a-z0-9_-]{0,63}".to_owned()
    } else if let Some(prefix) = RESERVED_PREFIXES
        .iter()
        .find(|prefix| name.starts_with(**prefix))
    {
        format!("header names starting with {prefix:?} are reserved")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::InvalidArgument, problem).with("header", token::shorten(name)))
}

impl fmt::Debug for Headers {
    /// Names only: values may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        let mut headers = Headers::new();
        for right in ["a", "0", "x-y_z", &"a".repeat(64)] {
            assert!(headers.insert(right, "").is_ok(), "{right}");
        }
        for wrong in [
            "",
            "-a",
            "_a",
            "A",
            "a b",
            "é",
            "ce-x",
            "ce_x",
            "bus-x",
            "nats-x",
            &"a".repeat(65),
        ] {
            assert!(headers.insert(wrong, "").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_has_one_value() {
        let mut headers = Headers::new();
        headers.insert("a", "1").unwrap();
        headers.insert("b", "2").unwrap();
        headers.insert("a", "3").unwrap();
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("a", "3"), ("b", "2")]);
    }

    #[test]
    fn values_are_not_shown_by_debug() {
        let mut headers = Headers::new();
        headers.insert("authorization", "secret").unwrap();
        assert!(!format!("{headers:?}").contains("secret"));
    }
}
