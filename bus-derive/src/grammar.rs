//! The grammar of topics, checked while compiling; the same as that of `bus_api::Topic` and `Pattern`.

use syn::{LitStr, Result};

const MAX_TOKENS: usize = 16;
const MAX_BYTES: usize = 200;
const MAX_TOKEN_BYTES: usize = 64;

/// Checks the size and the number of tokens.
pub(crate) fn check_shape(text: &str, tokens: usize, literal: &LitStr) -> Result<()> {
    if text.len() > MAX_BYTES {
        return refuse(literal, format!("a topic has at most {MAX_BYTES} bytes"));
    }
    if tokens > MAX_TOKENS {
        return refuse(literal, format!("a topic has at most {MAX_TOKENS} tokens"));
    }
    Ok(())
}

/// Checks one whole token.
pub(crate) fn check_token(token: &str, literal: &LitStr) -> Result<()> {
    if token.is_empty() {
        return refuse(literal, "a token between the dots is empty".to_owned());
    }
    if token.len() > MAX_TOKEN_BYTES {
        return refuse(
            literal,
            format!("token `{token}` is longer than {MAX_TOKEN_BYTES} bytes"),
        );
    }
    check_characters(token, literal)
}

/// Checks a part of a token.
pub(crate) fn check_characters(text: &str, literal: &LitStr) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match text.chars().find(|c| !allowed(*c)) {
        None => Ok(()),
        Some('*' | '>') => refuse(
            literal,
            "a topic holds no wildcards; the pattern follows from the topic, or write `pattern = \"..\"`"
                .to_owned(),
        ),
        Some(wrong) => refuse(
            literal,
            format!("token `{text}` holds {wrong:?}; allowed are A-Z a-z 0-9 _ -"),
        ),
    }
}

/// Checks a pattern as a whole.
pub(crate) fn check_pattern(literal: &LitStr) -> Result<()> {
    let text = literal.value();
    let tokens: Vec<_> = text.split('.').collect();
    check_shape(&text, tokens.len(), literal)?;
    for (index, token) in tokens.iter().enumerate() {
        match *token {
            "*" => {}
            ">" if index + 1 == tokens.len() => {}
            ">" => {
                let text = "`>` stands for the rest and is only allowed at the end";
                return refuse(literal, text.to_owned());
            }
            token => check_token(token, literal)?,
        }
    }
    Ok(())
}

fn refuse<T>(literal: &LitStr, text: String) -> Result<T> {
    Err(syn::Error::new_spanned(literal, text))
}
