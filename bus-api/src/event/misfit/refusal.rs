//! Errors that hold no values.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

/// An error without values; `None` when its reason is noted elsewhere.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) Option<String>);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or_default())
    }
}

impl std::error::Error for Refusal {}

impl de::Error for Refusal {
    /// The text may quote the value.
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(Some("a value was refused".to_owned()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(Some(format!(
            "{} where {expected} was expected",
            kind(&found)
        )))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(Some(format!("{} that is not {expected}", kind(&found))))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self(Some(format!(
            "{length} elements where {expected} was expected"
        )))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(Some(format!(
            "an unknown variant; known are {}",
            expected.join(", ")
        )))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self(Some(format!(
            "an unknown field; known are {}",
            expected.join(", ")
        )))
    }

    fn missing_field(field: &'static str) -> Self {
        Self(Some(format!("field `{field}` is missing")))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self(Some(format!("field `{field}` comes twice")))
    }
}

fn kind(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a floating point number",
        Unexpected::Char(_) => "a character",
        Unexpected::Str(_) => "text",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit | Unexpected::Option => "nothing",
        Unexpected::NewtypeStruct => "a newtype",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a map",
        Unexpected::Enum
        | Unexpected::UnitVariant
        | Unexpected::NewtypeVariant
        | Unexpected::TupleVariant
        | Unexpected::StructVariant => "an enum",
        Unexpected::Other(_) => "another value",
    }
}
