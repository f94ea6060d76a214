//! Secrets that lie in files of their own.

use std::path::Path;

use bus_api::{Error, ErrorKind, Result};

/// More than any password or token.
const MOST_BYTES: u64 = 64 << 10;

/// The text of a file that holds one secret, without the line's end.
///
/// # Errors
/// `InvalidConfig`, naming the file, never what is in it.
pub(super) fn read(path: &Path) -> Result<String> {
    let wrong =
        |text: String| Error::new(ErrorKind::InvalidConfig, text).with("file", path.display());
    let size = std::fs::metadata(path)
        .map_err(|native| wrong(format!("the file of a secret cannot be read: {native}")))?
        .len();
    if size > MOST_BYTES {
        return Err(wrong(
            "the file of a secret holds more than a secret".into(),
        ));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|native| wrong(format!("the file of a secret cannot be read: {native}")))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(wrong("the file of a secret is empty".into()));
    }
    Ok(secret.to_owned())
}
