//! How a case ended.

use std::fmt;
use std::panic::Location;

/// What a case saw that the contract forbids, and where in the case it saw it.
#[derive(Debug)]
pub struct Violation {
    text: String,
    place: &'static Location<'static>,
}

impl Violation {
    /// A violation seen at the caller's place.
    #[track_caller]
    pub fn new(text: impl fmt::Display) -> Self {
        Self {
            text: text.to_string(),
            place: Location::caller(),
        }
    }

    /// The same violation with more about it.
    #[must_use]
    pub fn because(mut self, reason: impl fmt::Display) -> Self {
        self.text = format!("{}: {reason}", self.text);
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}:{})",
            self.text,
            self.place.file(),
            self.place.line()
        )
    }
}

impl From<bus_api::Error> for Violation {
    /// An error where the contract promises success.
    #[track_caller]
    fn from(error: bus_api::Error) -> Self {
        Self::new(format_args!("unexpected error: {error}"))
    }
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The clause holds.
    Passed,
    /// It does not; what was seen.
    Failed(String),
    /// The factory cannot do what the case needs; what is missing.
    NotRun(String),
}

/// Fails the case unless `condition` holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::outcome::Violation::new(format_args!($($text)+)));
        }
    };
}
pub(crate) use ensure;

/// Fails the case unless both sides are equal.
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($text:tt)+) => {
        match (&$left, &$right) {
            (left, right) => {
                if left != right {
                    return Err($crate::outcome::Violation::new(format_args!(
                        "{}: got {left:?}, the contract says {right:?}", format_args!($($text)+)
                    )));
                }
            }
        }
    };
}
pub(crate) use ensure_eq;
