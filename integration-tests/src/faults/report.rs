//! What members tell the run: one line each on their standard output.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// Something that happened in a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// It has joined.
    Joined,
    /// An event was handed out.
    Delivered { number: u64, at: u64 },
    /// The broker has confirmed the ack.
    Acked { number: u64, at: u64 },
    /// The broker has confirmed the dead letter and the settling.
    Buried { number: u64, at: u64 },
    /// Settling had come too late: another member has the delivery.
    Fenced { number: u64 },
    /// A handler was entered.
    Started { number: u64 },
    /// It is over, though nobody asked for it.
    Ended(String),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined => f.write_str("joined"),
            Self::Delivered { number, at } => write!(f, "delivered {number} {at}"),
            Self::Acked { number, at } => write!(f, "acked {number} {at}"),
            Self::Buried { number, at } => write!(f, "buried {number} {at}"),
            Self::Fenced { number } => write!(f, "fenced {number}"),
            Self::Started { number } => write!(f, "started {number}"),
            Self::Ended(why) => write!(f, "ended {}", why.replace('\n', " ")),
        }
    }
}

impl FromStr for Report {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut numbers = rest.split(' ').map(str::parse::<u64>);
        let mut next = || -> Result<u64> { Ok(numbers.next().context("a number is missing")??) };
        Ok(match word {
            "joined" => Self::Joined,
            "delivered" => Self::Delivered {
                number: next()?,
                at: next()?,
            },
            "acked" => Self::Acked {
                number: next()?,
                at: next()?,
            },
            "buried" => Self::Buried {
                number: next()?,
                at: next()?,
            },
            "fenced" => Self::Fenced { number: next()? },
            "started" => Self::Started { number: next()? },
            "ended" => Self::Ended(rest.to_owned()),
            _ => bail!("a member said {line:?}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        for report in [
            Report::Joined,
            Report::Delivered { number: 1, at: 2 },
            Report::Acked { number: 3, at: 4 },
            Report::Buried { number: 5, at: 6 },
            Report::Fenced { number: 7 },
            Report::Started { number: 8 },
            Report::Ended("no such thing".into()),
        ] {
            assert_eq!(report.to_string().parse::<Report>().unwrap(), report);
        }
        assert!("acked 1".parse::<Report>().is_err());
    }
}
