//! The registry of codecs.

use std::fmt;
use std::sync::Arc;

use crate::contract::token;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Codec, Octets};

/// The codecs of a connection: one that writes, and all that read.
///
/// The codec that reads a message follows the message's content type. Upper and lower case do not matter,
/// nor do parameters such as `; charset=utf-8`; every `..+json` is read as JSON; a message without a
/// content type is read by the default codec.
///
/// ```
/// use bus_api::Codecs;
///
/// let codecs = Codecs::default();
/// assert_eq!(codecs.default_codec().content_type(), "application/json");
/// let codec = codecs.for_content_type(Some("application/vnd.github+json; charset=utf-8"))?;
/// assert_eq!(codec.content_type(), "application/json");
/// assert!(codecs.for_content_type(Some("image/png")).is_err());
/// # Ok::<(), bus_api::Error>(())
/// ```
#[derive(Clone)]
pub struct Codecs {
    default: Arc<dyn Codec>,
    all: Vec<Arc<dyn Codec>>,
}

impl Codecs {
    /// Adds a codec that reads; it replaces the one of the same content type.
    #[must_use]
    pub fn with(mut self, codec: impl Codec) -> Self {
        self.add(Arc::new(codec));
        self
    }

    /// Adds a codec that reads and from now on also writes.
    #[must_use]
    pub fn with_default(mut self, codec: impl Codec) -> Self {
        let codec: Arc<dyn Codec> = Arc::new(codec);
        self.add(Arc::clone(&codec));
        self.default = codec;
        self
    }

    fn add(&mut self, codec: Arc<dyn Codec>) {
        if self.default.content_type() == codec.content_type() {
            self.default = Arc::clone(&codec);
        }
        self.all
            .retain(|known| known.content_type() != codec.content_type());
        self.all.push(codec);
    }

    /// The codec that writes, and reads messages without a content type.
    #[must_use]
    pub fn default_codec(&self) -> &Arc<dyn Codec> {
        &self.default
    }

    /// The codec that reads messages of this content type.
    ///
    /// # Errors
    /// `Decode` when there is none, naming the content types that there are.
    pub fn for_content_type(&self, content_type: Option<&str>) -> Result<&Arc<dyn Codec>> {
        let Some(content_type) = content_type else {
            return Ok(&self.default);
        };
        if content_type == self.default.content_type() {
            return Ok(&self.default);
        }
        let media_type = media_type(content_type);
        if media_type.is_empty() {
            return Ok(&self.default);
        }
        let newest_first = || self.all.iter().rev();
        newest_first()
            .find(|codec| codec.content_type() == media_type)
            .or_else(|| newest_first().find(|codec| codec.also_reads(&media_type)))
            .ok_or_else(|| self.unknown(&media_type))
    }

    fn unknown(&self, media_type: &str) -> Error {
        let known: Vec<_> = self.all.iter().map(|codec| codec.content_type()).collect();
        let text = format!(
            "no codec reads this content type; there are {}",
            known.join(", ")
        );
        Error::new(ErrorKind::Decode, text).with("content_type", token::shorten(media_type))
    }
}

/// The bare media type in lower case.
fn media_type(content_type: &str) -> String {
    let end = content_type.find(';').unwrap_or(content_type.len());
    content_type[..end].trim().to_ascii_lowercase()
}

impl Default for Codecs {
    /// JSON writes (without the feature `json`, MessagePack or raw bytes do); JSON, MessagePack and raw
    /// bytes read.
    fn default() -> Self {
        let octets: Arc<dyn Codec> = Arc::new(Octets);
        let codecs = Self {
            default: Arc::clone(&octets),
            all: vec![octets],
        };
        #[cfg(feature = "msgpack")]
        let codecs = codecs.with_default(crate::event::MessagePack);
        #[cfg(feature = "json")]
        let codecs = codecs.with_default(crate::event::Json);
        codecs
    }
}

impl fmt::Debug for Codecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types = self.all.iter().map(|codec| codec.content_type());
        f.debug_struct("Codecs")
            .field("default", &self.default.content_type())
            .field("all", &types.collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
#[cfg(feature = "json")]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::Json;

    fn found(codecs: &Codecs, content_type: &str) -> Option<&'static str> {
        let codec = codecs.for_content_type(Some(content_type)).ok()?;
        Some(codec.content_type())
    }

    #[test]
    fn the_content_type_finds_the_codec() {
        let codecs = Codecs::default();
        for (content_type, expected) in [
            ("application/json", Some("application/json")),
            ("Application/JSON", Some("application/json")),
            ("application/json;charset=utf-8", Some("application/json")),
            (" application/json ; a=\"b;c\"", Some("application/json")),
            ("text/json", Some("application/json")),
            ("application/problem+json", Some("application/json")),
            ("", Some("application/json")),
            (";", Some("application/json")),
            ("application/octet-stream", Some("application/octet-stream")),
            ("application/jsonx", None),
            ("json", None),
            ("é", None),
        ] {
            assert_eq!(found(&codecs, content_type), expected, "{content_type:?}");
        }
        assert!(codecs.for_content_type(None).is_ok());
    }

    /// JSON under another name.
    struct Vendor;

    impl Codec for Vendor {
        fn content_type(&self) -> &'static str {
            "application/vnd.acme+json"
        }

        fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Bytes> {
            Json.encode(value)
        }

        fn decode(
            &self,
            payload: &Bytes,
            read: &mut dyn FnMut(
                &mut dyn erased_serde::Deserializer<'_>,
            ) -> erased_serde::Result<()>,
        ) -> Result<()> {
            Json.decode(payload, read)
        }
    }

    #[test]
    fn a_codec_of_the_users_own_is_found_before_a_suffix() {
        let codecs = Codecs::default().with(Vendor);
        let name = "application/vnd.acme+json";
        assert_eq!(found(&codecs, name), Some(name));
        assert_eq!(
            found(&codecs, "application/x+json"),
            Some("application/json")
        );
        assert_eq!(codecs.default_codec().content_type(), "application/json");
        let codecs = codecs.with_default(Vendor);
        assert_eq!(codecs.default_codec().content_type(), name);
        assert_eq!(found(&codecs, "application/json"), Some("application/json"));
    }
}
