//! Raw bytes.

use bytes::Bytes;
use serde::de::{Deserializer, Visitor, value};
use serde::ser::{Error as _, Impossible, Serialize, Serializer};

use crate::error::{Error, ErrorKind, Result};
use crate::event::Codec;

/// Bytes as they are: for events that are one byte string or text, such as `struct Frame(Bytes)`.
///
/// A newtype around them is looked through; any other shape is an `Encode` error.
#[derive(Clone, Copy, Debug, Default)]
pub struct Octets;

impl Codec for Octets {
    fn content_type(&self) -> &'static str {
        "application/octet-stream"
    }

    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Bytes> {
        value.serialize(OctetsOnly).map(Bytes::from).map_err(|_| {
            let text = "only bytes or text have a raw form; derive the event for a newtype around \
                        `Bytes`, or use another codec";
            Error::new(ErrorKind::Encode, text)
        })
    }

    fn decode(
        &self,
        payload: &Bytes,
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> erased_serde::Result<()>,
    ) -> Result<()> {
        read(&mut <dyn erased_serde::Deserializer<'_>>::erase(Input(
            payload,
        )))
        .map_err(|_| {
            let text = "raw bytes do not fit the type; it must be one byte string or text";
            Error::new(ErrorKind::Decode, text)
        })
    }
}

type Refused = value::Error;

/// Takes a byte string or text, also inside newtypes and `Some`; refuses the rest.
struct OctetsOnly;

fn refuse<T>() -> Result<T, Refused> {
    Err(Refused::custom("neither bytes nor text"))
}

macro_rules! refuse_values {
    ($($method:ident: $type:ty),* $(,)?) => {$(
        fn $method(self, _: $type) -> Result<Vec<u8>, Refused> {
            refuse()
        }
    )*};
}

impl Serializer for OctetsOnly {
    type Ok = Vec<u8>;
    type Error = Refused;
    type SerializeSeq = Impossible<Vec<u8>, Refused>;
    type SerializeTuple = Impossible<Vec<u8>, Refused>;
    type SerializeTupleStruct = Impossible<Vec<u8>, Refused>;
    type SerializeTupleVariant = Impossible<Vec<u8>, Refused>;
    type SerializeMap = Impossible<Vec<u8>, Refused>;
    type SerializeStruct = Impossible<Vec<u8>, Refused>;
    type SerializeStructVariant = Impossible<Vec<u8>, Refused>;

    refuse_values! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64, serialize_f32: f32, serialize_f64: f64, serialize_char: char,
        serialize_unit_struct: &'static str,
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Vec<u8>, Refused> {
        Ok(bytes.to_vec())
    }

    fn serialize_str(self, text: &str) -> Result<Vec<u8>, Refused> {
        Ok(text.as_bytes().to_vec())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<u8>, Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Vec<u8>, Refused> {
        value.serialize(self)
    }

    fn serialize_none(self) -> Result<Vec<u8>, Refused> {
        refuse()
    }

    fn serialize_unit(self) -> Result<Vec<u8>, Refused> {
        refuse()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<Vec<u8>, Refused> {
        refuse()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Vec<u8>, Refused> {
        refuse()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Refused> {
        refuse()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Refused> {
        refuse()
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Refused> {
        refuse()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Refused> {
        refuse()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Refused> {
        refuse()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Refused> {
        refuse()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Refused> {
        refuse()
    }
}

/// The payload as a byte string, or as text where text is asked for.
struct Input<'a>(&'a [u8]);

impl<'de> Deserializer<'de> for Input<'de> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_borrowed_bytes(self.0)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match std::str::from_utf8(self.0) {
            Ok(text) => visitor.visit_borrowed_str(text),
            Err(_) => visitor.visit_borrowed_bytes(self.0),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::{Bytes, Codec, ErrorKind, Octets};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Frame(Bytes);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Line(Option<String>);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Other {
        secret: String,
    }

    #[test]
    fn bytes_and_text_stay_as_they_are() {
        let codec: &dyn Codec = &Octets;
        for bytes in [&b""[..], b"\x00\xff", b"text"] {
            let frame = Frame(Bytes::from_static(bytes));
            let payload = codec.to_bytes(&frame).unwrap();
            assert_eq!(payload, bytes);
            assert_eq!(codec.from_bytes::<Frame>(&payload).unwrap(), frame);
        }
        let line = Line(Some("é".to_owned()));
        let payload = codec.to_bytes(&line).unwrap();
        assert_eq!(payload, "é");
        assert_eq!(codec.from_bytes::<Line>(&payload).unwrap(), line);
    }

    #[test]
    fn what_is_no_byte_string_is_refused() {
        let codec: &dyn Codec = &Octets;
        let other = Other {
            secret: "secret".to_owned(),
        };
        let error = codec.to_bytes(&other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Encode);
        for payload in [&b"secret"[..], b"\xff"] {
            let payload = Bytes::from_static(payload);
            let error = codec.from_bytes::<Other>(&payload).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode);
            assert!(!error.to_string().contains("secret"));
        }
        let text = codec.from_bytes::<Line>(&Bytes::from_static(b"\xff"));
        assert_eq!(text.unwrap_err().kind(), ErrorKind::Decode);
    }
}
