//! Names that are one token: groups and namespaces.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::contract::token;
use crate::error::{Error, ErrorKind, Result};

/// The name of a group: one token of `[A-Za-z0-9_-]{1,64}`.
///
/// Members of one group and pattern compete for messages; each other group gets every message.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group(Arc<str>);

impl Group {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTopic`], naming the group.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        token::check(text, "group", text)?;
        Ok(Self(text.into()))
    }

    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A namespace: one token of `[a-z0-9-]{1,32}`. Two namespaces on one broker never see each other.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// Longest namespace, in bytes.
    pub const MAX_BYTES: usize = 32;

    /// Checks `text`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTopic`], naming the namespace.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        let fits = (1..=Self::MAX_BYTES).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits {
            return Ok(Self(text.into()));
        }
        Err(Error::new(
            ErrorKind::InvalidTopic,
            format!(
                "a namespace is 1 to {} characters of a-z 0-9 -",
                Self::MAX_BYTES
            ),
        )
        .with("namespace", token::shorten(text)))
    }

    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self("bus".into())
    }
}

macro_rules! text_name {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;

            fn try_from(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }
    };
}

text_name!(Group);
text_name!(Namespace);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_one_token() {
        assert!(Group::new("mail-2_b").is_ok());
        for wrong in ["", "a.b", "a b", "*", "é"] {
            assert!(Group::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_namespace_is_lower_case_and_short() {
        assert!(Namespace::new("team-7").is_ok());
        assert!(Namespace::new("a".repeat(32)).is_ok());
        for wrong in ["", "Team", "a_b", "a.b", &"a".repeat(33)] {
            assert!(Namespace::new(wrong).is_err(), "{wrong}");
        }
    }
}
