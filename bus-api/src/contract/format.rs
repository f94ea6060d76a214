//! Format versions of records that one process writes and another reads.

use crate::error::{Error, ErrorKind, Result};

/// Splits the leading version byte from a stored record and checks it.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a newer version; [`ErrorKind::Decode`] for an empty record. Neither
/// may be treated as "nothing stored".
pub fn split_version<'a>(
    record: &'a [u8],
    known: u8,
    what: &'static str,
) -> Result<(u8, &'a [u8])> {
    match record.split_first() {
        Some((&version, rest)) if (1..=known).contains(&version) => Ok((version, rest)),
        Some((&version, _)) => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{what} has format version {version}; this release reads up to {known}, upgrade it"
            ),
        )),
        None => Err(Error::new(
            ErrorKind::Decode,
            format!("{what} is empty; a format version was expected"),
        )),
    }
}
