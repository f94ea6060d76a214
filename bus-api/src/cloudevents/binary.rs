//! Writing in binary mode.

use std::borrow::Cow;

use super::{
    CONTENT_TYPE, DATA, Extent, FORMAT, OWN, OWN_FORMAT, OWN_HEADER, OWN_KEY, OWN_TARGET,
    OWN_TOPIC, Style, attributes, target, text,
};
use crate::contract::Message;

/// Gives `sink` the name-value pairs that go with `message`: everything but the payload.
///
/// For [`Style::Nats`] names and values are printable ASCII. Values are borrowed from the message where the
/// wire takes them as they are.
///
/// ```
/// use bus_api::cloudevents::{self, Extent, Style};
/// use bus_api::{Message, MessageId, Metadata, Topic};
///
/// let mut metadata = Metadata::new(MessageId::new("1"), "shop".into(), std::time::UNIX_EPOCH);
/// metadata.event_type = Some("order.placed".into());
/// let message = Message::new(Topic::new("orders.placed")?, metadata, "{}".into());
///
/// let mut pairs = Vec::new();
/// cloudevents::write(&message, Style::Kafka, Extent::Usual, &mut |name, value| {
///     pairs.push(format!("{name}={}", String::from_utf8_lossy(value)));
/// });
/// assert!(pairs.contains(&"ce_type=order.placed".to_owned()));
/// assert!(pairs.contains(&"bus-topic=orders.placed".to_owned()));
/// # Ok::<(), bus_api::Error>(())
/// ```
pub fn write(message: &Message, style: Style, extent: Extent, sink: &mut dyn FnMut(&str, &[u8])) {
    let value = |value: &[u8], sink: &mut dyn FnMut(&[u8])| match style {
        Style::Nats => sink(text::encode(value).as_bytes()),
        Style::Kafka | Style::Redis => sink(value),
    };
    let mut name = String::with_capacity(32);
    attributes::write(&message.metadata, &mut |attribute, content| {
        name.clear();
        name.push_str(style.prefix());
        name.push_str(attribute);
        value(content.as_bytes(), &mut |bytes| sink(&name, bytes));
    });
    if let Some(content_type) = &message.metadata.content_type {
        value(content_type.as_bytes(), &mut |bytes| {
            sink(style.content_type(), bytes);
        });
    }
    sink(OWN_FORMAT, FORMAT.to_string().as_bytes());
    if extent.has_topic(style) {
        sink(OWN_TOPIC, message.topic.as_str().as_bytes());
    }
    if let Some(key) = message.key.as_ref().filter(|_| extent.has_key(style)) {
        value(key, &mut |bytes| sink(OWN_KEY, bytes));
    }
    if let Some(targeted) = &message.targeted {
        value(target::write(targeted).as_bytes(), &mut |bytes| {
            sink(OWN_TARGET, bytes);
        });
    }
    for (name, content) in message.headers.iter() {
        if is_plain(style, name, content) {
            sink(name, content.as_bytes());
        } else {
            let name = format!(
                "{OWN_HEADER}{}",
                text::encode(name.as_bytes()).replace(':', "%3A")
            );
            sink(&name, text::encode(content.as_bytes()).as_bytes());
        }
    }
}

/// Whether the wire gives the header back as it is.
fn is_plain(style: Style, name: &str, value: &str) -> bool {
    let folded: Cow<'_, str> = match style {
        Style::Nats => name.to_ascii_lowercase().into(),
        Style::Kafka | Style::Redis => name.into(),
    };
    let has_meaning = folded.starts_with(OWN)
        || folded.eq_ignore_ascii_case(CONTENT_TYPE)
        || folded
            .strip_prefix(style.prefix())
            .is_some_and(attributes::is_known)
        || (style == Style::Redis && folded == DATA)
        || (style == Style::Nats && folded.starts_with("nats-"));
    match style {
        _ if has_meaning => false,
        Style::Nats => text::is_plain_name(name) && text::is_plain_value(value),
        Style::Kafka | Style::Redis => true,
    }
}
