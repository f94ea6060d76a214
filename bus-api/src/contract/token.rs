//! The grammar that topics, patterns, groups and namespaces share.

use crate::error::{Error, ErrorKind, Result};

/// Longest token of a topic, in bytes.
pub const MAX_TOKEN_BYTES: usize = 64;

/// Checks one token of `[A-Za-z0-9_-]{1,64}`; the error names it and says what it is part of.
pub(crate) fn check(token: &str, part_of: &'static str, whole: &str) -> Result<()> {
    let problem = if token.is_empty() {
        "is empty".to_owned()
    } else if token.len() > MAX_TOKEN_BYTES {
        format!(
            "has {} bytes; at most {MAX_TOKEN_BYTES} are allowed",
            token.len()
        )
    } else if let Some(wrong) = token.chars().find(|c| !is_token_char(*c)) {
        format!("holds {wrong:?}; allowed are A-Z a-z 0-9 _ -")
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::InvalidTopic,
        format!("token {:?} {problem}", shorten(token)),
    )
    .with(part_of, shorten(whole)))
}

pub(crate) const fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// The head of a text from outside, so that an error stays one line.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// The longest head of `text` that has at most `max_bytes` bytes and ends at a character boundary.
pub(crate) fn head(text: &str, max_bytes: usize) -> &str {
    if text.len() <= max_bytes {
        return text;
    }
    let end = (0..=max_bytes)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    &text[..end]
}
