//! Messages as JSON lines, as text for people, and as bytes.

use std::collections::BTreeMap;

use bus::{Envelope, Raw};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::output::Output;
use crate::when;

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line about the message, then its payload
    #[default]
    Pretty,
    /// One JSON object a line
    Json,
    /// The payload and a line's end
    Raw,
}

/// A message as one JSON line: what `sub` writes and `pub --ndjson` reads.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) r#type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_hex: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) causation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    /// A payload that is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<Box<RawValue>>,
    /// A payload that is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// Any other payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hex: Option<String>,
    /// Facts of its delivery, which publishing leaves out.
    #[serde(flatten, skip_deserializing)]
    delivery: Option<DeliveryLine>,
}

#[derive(Debug, Serialize)]
struct DeliveryLine {
    source: String,
    time: String,
    position: String,
    stored_at: String,
    attempt: u32,
}

impl Line {
    fn new(message: &Envelope<Raw>) -> Self {
        let metadata = &message.metadata;
        let key = message.key.as_deref();
        let key_text = key.and_then(|key| std::str::from_utf8(key).ok());
        let mut line = Self {
            topic: Some(message.topic.to_string()),
            id: Some(metadata.id.to_string()),
            r#type: metadata.event_type.as_deref().map(str::to_owned),
            content_type: metadata.content_type.as_deref().map(str::to_owned),
            key: key_text.map(str::to_owned),
            key_hex: key.filter(|_| key_text.is_none()).map(hex::encode),
            headers: message
                .headers
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            correlation_id: metadata.correlation_id.as_deref().map(str::to_owned),
            causation_id: metadata.causation_id.as_deref().map(str::to_owned),
            subject: metadata.subject.as_deref().map(str::to_owned),
            delivery: Some(DeliveryLine {
                source: metadata.source.to_string(),
                time: when::text(metadata.time),
                position: message.position.to_string(),
                stored_at: when::text(message.position.stored_at()),
                attempt: message.attempt,
            }),
            ..Self::default()
        };
        line.put(&message.event.payload);
        line
    }

    fn put(&mut self, payload: &[u8]) {
        match std::str::from_utf8(payload) {
            Err(_) => self.hex = Some(hex::encode(payload)),
            Ok(text) => match one_line_of_json(text) {
                Some(json) => self.payload = Some(json),
                None => self.text = Some(text.to_owned()),
            },
        }
    }
}

/// JSON without line ends, letter by letter where it has none.
fn one_line_of_json(text: &str) -> Option<Box<RawValue>> {
    if text.contains(['\n', '\r']) {
        let value: Value = serde_json::from_str(text).ok()?;
        return serde_json::value::to_raw_value(&value).ok();
    }
    serde_json::from_str(text).ok()
}

/// Writes a message.
pub(crate) fn write(
    output: &Output,
    format: Format,
    message: &Envelope<Raw>,
) -> std::io::Result<()> {
    match format {
        Format::Json => output.json(&Line::new(message)),
        Format::Raw => output.bytes(&[&*message.event.payload, b"\n"].concat()),
        Format::Pretty => {
            output.line(&output.dim(&head(message)))?;
            output.line(body(&message.event.payload).trim_end_matches('\n'))
        }
    }
}

fn head(message: &Envelope<Raw>) -> String {
    let metadata = &message.metadata;
    let mut head = format!(
        "{}  {}  {}",
        when::text(message.position.stored_at()),
        message.topic,
        metadata.event_type.as_deref().unwrap_or("-"),
    );
    if let Some(key) = &message.key {
        head.push_str(&format!(
            "  key={}",
            String::from_utf8_lossy(key).escape_debug()
        ));
    }
    for (name, value) in message.headers.iter() {
        head.push_str(&format!("  {name}={}", value.escape_debug()));
    }
    if message.attempt > 1 {
        head.push_str(&format!("  attempt={}", message.attempt));
    }
    head.push_str(&format!("  id={}  at={}", metadata.id, message.position));
    head
}

/// A payload for people: JSON indented, text as it is without control characters, other bytes as hex digits.
pub(crate) fn body(payload: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(payload) else {
        return format!("hex {}", hex::encode(payload));
    };
    if let Ok(value) = serde_json::from_str::<Value>(text)
        && let Ok(pretty) = serde_json::to_string_pretty(&value)
    {
        return pretty;
    }
    // A terminal would obey escape sequences of whoever published.
    text.chars()
        .map(|c| {
            if c.is_control() && !"\n\t".contains(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(payload: &[u8]) -> Line {
        let mut line = Line::default();
        line.put(payload);
        line
    }

    #[test]
    fn payloads_are_json_text_or_hex() {
        assert_eq!(put(b"{\"a\": 1.0}").payload.unwrap().get(), "{\"a\": 1.0}");
        assert_eq!(put(b"{\n\"a\":1}").payload.unwrap().get(), "{\"a\":1}");
        assert_eq!(put(b"plain").text.unwrap(), "plain");
        assert_eq!(put(b"\xff").hex.unwrap(), "ff");
    }

    #[test]
    fn a_terminal_gets_no_escape_sequences() {
        assert_eq!(body(b"a\x1b[2Jb\n"), "a\u{fffd}[2Jb\n");
    }
}
