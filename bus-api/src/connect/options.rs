//! Options of a connection: named texts that are taken once, by whom they concern.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

use crate::contract::token::shorten;
use crate::error::{Error, ErrorKind, Result};

/// Named options. Each part of the bus takes what concerns it; what nobody took is an error that names
/// the nearest valid key.
///
/// ```
/// use std::time::Duration;
/// use bus_api::Options;
///
/// let mut options = Options::default();
/// options.insert("dedup_window", "90s")?;
/// options.insert("namespcae", "shop")?;
/// assert_eq!(options.take_duration("dedup_window")?, Some(Duration::from_secs(90)));
/// let error = options.finish(&["dedup_window", "namespace"]).unwrap_err();
/// assert!(error.to_string().contains("did you mean `namespace`?"));
/// # Ok::<(), bus_api::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// Adds an option.
    ///
    /// # Errors
    /// `InvalidConfig` when it is there already.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) -> Result<()> {
        let name = name.into();
        if self.0.contains_key(&name) {
            return Err(
                Error::new(ErrorKind::InvalidConfig, "an option is given twice")
                    .with("option", shorten(&name)),
            );
        }
        self.0.insert(name, value.into());
        Ok(())
    }

    /// Adds an option, replacing an earlier value.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// The value of `name`, left in place.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names that were not taken yet.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Takes the options that start with `prefix`, without it, such as a client's own properties.
    pub fn take_prefix(&mut self, prefix: &str) -> BTreeMap<String, String> {
        let (taken, rest) = std::mem::take(&mut self.0)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(name, _)| name.starts_with(prefix));
        self.0 = rest;
        taken
            .into_iter()
            .map(|(name, value)| (name[prefix.len()..].to_owned(), value))
            .collect()
    }

    /// Takes a text.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Takes a value of any type that has a text form; `expected` says what would be right.
    ///
    /// # Errors
    /// `InvalidConfig`, naming the option and `expected`, never the value.
    pub fn take_parsed<T: FromStr>(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Result<Option<T>> {
        self.take_with(name, expected, |text| text.parse().ok())
    }

    /// Takes `true` or `false`.
    ///
    /// # Errors
    /// As [`take_parsed`](Self::take_parsed).
    pub fn take_bool(&mut self, name: &'static str) -> Result<Option<bool>> {
        self.take_parsed(name, "true or false")
    }

    /// Takes a length of time, such as `250ms`, `30s`, `5m`, `7d`.
    ///
    /// # Errors
    /// As [`take_parsed`](Self::take_parsed).
    pub fn take_duration(&mut self, name: &'static str) -> Result<Option<Duration>> {
        self.take_with(
            name,
            "a length of time such as 250ms, 30s, 5m or 7d",
            parse_duration,
        )
    }

    /// Takes a number of bytes, such as `65536`, `64KiB` or `1GiB`.
    ///
    /// # Errors
    /// As [`take_parsed`](Self::take_parsed).
    pub fn take_bytes(&mut self, name: &'static str) -> Result<Option<u64>> {
        self.take_with(
            name,
            "a number of bytes such as 65536, 64KiB or 1GiB",
            parse_bytes,
        )
    }

    /// Takes a path of a file.
    pub fn take_path(&mut self, name: &str) -> Option<PathBuf> {
        self.take(name).map(PathBuf::from)
    }

    /// Takes one of several words.
    ///
    /// # Errors
    /// `InvalidConfig`, naming the option and the words.
    pub fn take_choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>> {
        let words = choices
            .iter()
            .map(|(word, _)| *word)
            .collect::<Vec<_>>()
            .join(", ");
        self.take_with(name, &format!("one of {words}"), |text| {
            choices
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, choice)| *choice)
        })
    }

    fn take_with<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(text) = self.0.remove(name) else {
            return Ok(None);
        };
        match parse(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("option `{name}` cannot be read; expected {expected}"),
            )),
        }
    }

    /// Checks that everything was taken.
    ///
    /// # Errors
    /// `InvalidConfig`, naming the first option that is left and the nearest of the `known` ones.
    pub fn finish(self, known: &[&str]) -> Result<()> {
        let Some((name, _)) = self.0.first_key_value() else {
            return Ok(());
        };
        let nearest = known
            .iter()
            .map(|known| (strsim::damerau_levenshtein(name, known), *known))
            .min()
            // A key with more than a third of its letters wrong is no typing error.
            .filter(|(distance, known)| distance * 3 <= known.len().max(3));
        let hint = match nearest {
            Some((_, known)) => format!("did you mean `{known}`?"),
            None => format!("known are {}", known.join(", ")),
        };
        Err(Error::new(
            ErrorKind::InvalidConfig,
            format!("unknown option `{}`; {hint}", shorten(name)),
        ))
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    // "7d" and "1w" are friendly text that a SignedDuration only takes with exact units.
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let seconds_per_unit = match unit {
        "d" => 86_400,
        "w" => 604_800,
        _ => return text.parse::<SignedDuration>().ok()?.try_into().ok(),
    };
    Some(Duration::from_secs(
        number.parse::<u64>().ok()?.checked_mul(seconds_per_unit)?,
    ))
}

fn parse_bytes(text: &str) -> Option<u64> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

impl fmt::Debug for Options {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_and_bytes_are_read() {
        for (text, expected) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("7d", 604_800_000),
            ("1h 30m", 5_400_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(expected)),
                "{text}"
            );
        }
        for wrong in ["", "5", "-5s", "x", "99999999999999999999d"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
        for (text, expected) in [("0", 0), ("64KiB", 65_536), ("1GB", 1_000_000_000)] {
            assert_eq!(parse_bytes(text), Some(expected), "{text}");
        }
        for wrong in ["", "KiB", "1.5MiB", "-1", "1XB", "99999999999999999999GiB"] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_unreadable_value_names_the_option_and_not_the_value() {
        let mut options = Options::default();
        options.insert("lazy", "hunter2").unwrap();
        let error = options.take_bool("lazy").unwrap_err().to_string();
        assert!(
            error.contains("`lazy`")
                && error.contains("true or false")
                && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn a_far_key_gets_the_list() {
        let mut options = Options::default();
        options.insert("zzz", "").unwrap();
        let error = options
            .finish(&["namespace", "lazy"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("known are namespace, lazy"), "{error}");
    }
}
