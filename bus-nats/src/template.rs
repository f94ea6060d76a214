//! Headers of many messages: most of them are those of the message before.

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bus_api::cloudevents::{self, Extent, Style};
use bus_api::{Message, Result};

use crate::wire;

/// Makes headers. What an earlier message had as well is copied, which takes much less than hashing and checking it.
#[derive(Debug, Default)]
pub(crate) struct Template {
    /// The headers of an earlier message, in the order in which they were made.
    pairs: Vec<(HeaderName, HeaderValue)>,
    /// The same.
    headers: HeaderMap,
    /// What the message at hand has others of.
    differing: Vec<(HeaderName, HeaderValue)>,
    /// The message before had headers of other names.
    missed: bool,
}

impl Template {
    /// The headers of `message`.
    ///
    /// # Errors
    /// `Encode` when one of them cannot be written.
    pub(crate) fn headers(&mut self, message: &Message, extent: Extent) -> Result<HeaderMap> {
        if self.fits(message, extent)? {
            self.missed = false;
            let mut headers = self.headers.clone();
            for (name, value) in self.differing.drain(..) {
                headers.insert(name, value);
            }
            return Ok(headers);
        }
        let headers = wire::headers(message, extent)?;
        // One of another kind now and then is not worth learning.
        if self.missed || self.pairs.is_empty() {
            self.learn(message, extent, &headers)?;
        }
        self.missed = true;
        Ok(headers)
    }

    /// Whether `message` has headers of the same names; notes the values that differ.
    fn fits(&mut self, message: &Message, extent: Extent) -> Result<bool> {
        self.differing.clear();
        let (mut known, mut result) = (self.pairs.iter(), Ok(true));
        cloudevents::write(message, Style::Nats, extent, &mut |name, value| {
            if !matches!(result, Ok(true)) {
                return;
            }
            let same_name = known
                .next()
                .filter(|(known, _)| AsRef::<str>::as_ref(known) == name);
            let Some((name, before)) = same_name else {
                result = Ok(false);
                return;
            };
            if AsRef::<[u8]>::as_ref(before) != value {
                match wire::value(value) {
                    Ok(value) => self.differing.push((name.clone(), value)),
                    Err(failed) => result = Err(failed),
                }
            }
        });
        Ok(result? && known.next().is_none() && !self.pairs.is_empty())
    }

    fn learn(&mut self, message: &Message, extent: Extent, headers: &HeaderMap) -> Result<()> {
        let (mut pairs, mut result) = (Vec::new(), Ok(()));
        cloudevents::write(
            message,
            Style::Nats,
            extent,
            &mut |name, value| match wire::name(name)
                .and_then(|name| Ok((name, wire::value(value)?)))
            {
                Ok(pair) => pairs.push(pair),
                Err(failed) => result = Err(failed),
            },
        );
        self.headers = headers.clone();
        if let Some((name, value)) = pairs.first() {
            // A map that is full grows by this: else each copy would have to, and hash everything again.
            self.headers.insert(name.clone(), value.clone());
        }
        self.pairs = pairs;
        result
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use bus_api::{MessageId, Metadata, Topic};

    use super::*;

    fn message(id: &str, key: Option<&'static str>) -> Message {
        let metadata = Metadata::new(MessageId::new(id), "test".into(), UNIX_EPOCH);
        let mut message = Message::new(Topic::new("a").unwrap(), metadata, "x".into());
        message.key = key.map(Into::into);
        message
    }

    #[test]
    fn headers_are_as_without_it_whatever_came_before() {
        let mut template = Template::default();
        let keys = [
            None,
            None,
            Some("k"),
            None,
            Some("k"),
            Some("l"),
            Some("l"),
            None,
            None,
        ];
        for (number, key) in keys.into_iter().enumerate() {
            let mut message = message(&number.to_string(), key);
            if number % 2 == 1 {
                message.headers.insert("odd", "yes").unwrap();
            }
            let expected = wire::headers(&message, Extent::Usual).unwrap();
            let made = template.headers(&message, Extent::Usual).unwrap();
            assert_eq!(made, expected, "{number}");
        }
    }
}
