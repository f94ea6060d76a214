//! Messages as the server gets them.

use async_nats::{HeaderMap, Subject};
use bus_api::cloudevents::Extent;
use bus_api::{Message, Result};
use bytes::Bytes;

use crate::keys::Keys;
use crate::template::Template;
use crate::wire::{WIRE_ID, put};

/// What the server gets.
pub(crate) struct Outgoing {
    pub(crate) subject: Subject,
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) payload: Bytes,
}

/// A message as it is stored.
///
/// # Errors
/// `Encode` when a header cannot be written.
pub(crate) fn write(keys: &Keys, template: &mut Template, message: &Message) -> Result<Outgoing> {
    let mut headers = template.headers(message, Extent::Usual)?;
    if let Some(dedup) = &message.dedup_id {
        // The server's window is the stream's, so the topic is part of what it tells duplicates by.
        let id = format!("{}/{}", message.topic, plain(dedup));
        put(&mut headers, WIRE_ID, &id)?;
    }
    Ok(Outgoing {
        subject: keys.topic(&message.topic).into(),
        headers: Some(headers),
        payload: message.payload.clone(),
    })
}

/// Any text as one that the client neither trims nor refuses.
fn plain(text: &str) -> String {
    let fits = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'%');
    if fits {
        return text.to_owned();
    }
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_graphic() && byte != b'%' {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_one_that_is_not_altered() {
        assert_eq!(plain("a-b/c"), "a-b/c");
        assert_eq!(plain(" a\n%é"), "%20a%0A%25%C3%A9");
    }
}
