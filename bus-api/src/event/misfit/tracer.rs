//! The deserializer that keeps the path.

use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::refusal::Refusal;
use super::{Step, Trace};

/// A deserializer, a seed, a visitor or an access to parts, with the trace that it keeps.
pub(super) struct Tracer<'t, T> {
    inner: T,
    trace: &'t Trace,
    /// Fields of the struct or variants of the enum that is read; of a key, what it may be.
    names: &'static [&'static str],
    is_key: bool,
    count: usize,
}

impl<'t, T> Tracer<'t, T> {
    pub(super) fn new(inner: T, trace: &'t Trace) -> Self {
        Self {
            inner,
            trace,
            names: &[],
            is_key: false,
            count: 0,
        }
    }

    /// The same trace around what `inner` leads to.
    fn around<U>(&self, inner: U) -> Tracer<'t, U> {
        Tracer {
            names: self.names,
            ..Tracer::new(inner, self.trace)
        }
    }

    fn key<U>(&self, inner: U) -> Tracer<'t, U> {
        Tracer {
            is_key: true,
            ..self.around(inner)
        }
    }

    fn named(self, names: &'static [&'static str]) -> Self {
        Self { names, ..self }
    }

    /// Splits off the inner part, keeping the rest for the visitor.
    fn split<U>(self, other: U) -> (T, Tracer<'t, U>) {
        let other = Tracer {
            inner: other,
            trace: self.trace,
            names: self.names,
            is_key: self.is_key,
            count: 0,
        };
        (self.inner, other)
    }

    /// Remembers which of the known names a key is.
    fn note_key(&self, key: &[u8]) {
        if self.is_key {
            let known = self.names.iter().copied();
            self.trace
                .key
                .set(known.into_iter().find(|name| name.as_bytes() == key));
        }
    }

    fn step(&self, name: Option<&'static str>, other: Step) -> Step {
        name.map_or(other, Step::Name)
    }
}

macro_rules! forward {
    ($($method:ident($($name:ident: $type:ty),*) $([$names:ident])?;)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, Refusal> {
            let trace = self.trace;
            let tracer = self$(.named($names))?;
            let (inner, visitor) = tracer.split(visitor);
            inner.$method($($name,)* visitor).map_err(|_| trace.refused_below())
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Tracer<'_, D> {
    type Error = Refusal;

    forward! {
        deserialize_any(); deserialize_bool(); deserialize_i8(); deserialize_i16();
        deserialize_i32(); deserialize_i64(); deserialize_i128(); deserialize_u8();
        deserialize_u16(); deserialize_u32(); deserialize_u64(); deserialize_u128();
        deserialize_f32(); deserialize_f64(); deserialize_char(); deserialize_str();
        deserialize_string(); deserialize_bytes(); deserialize_byte_buf();
        deserialize_option(); deserialize_unit(); deserialize_seq(); deserialize_map();
        deserialize_identifier(); deserialize_ignored_any();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(length: usize);
        deserialize_tuple_struct(name: &'static str, length: usize);
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) [fields];
        deserialize_enum(name: &'static str, variants: &'static [&'static str]) [variants];
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident($type:ty);)*) => {$(
        fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value).map_err(|refusal| self.trace.refuse(refusal))
        }
    )*};
}

macro_rules! visit_text {
    ($($method:ident($type:ty);)*) => {$(
        fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.note_key(value.as_ref());
            self.inner.$method(value).map_err(|refusal| self.trace.refuse(refusal))
        }
    )*};
}

macro_rules! visit_inside {
    ($($method:ident<$access:ident: $bound:ident>;)*) => {$(
        fn $method<$access: $bound<'de>>(self, access: $access) -> Result<V::Value, $access::Error> {
            let inside = self.around(access);
            self.inner.$method(inside).map_err(|refusal| self.trace.refuse(refusal))
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Tracer<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Expecting<'a, V>(&'a V);
        impl<'de, V: Visitor<'de>> fmt::Display for Expecting<'_, V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.expecting(f)
            }
        }
        let expected = Expecting(&self.inner).to_string();
        f.write_str(&expected)?;
        *self.trace.expected.borrow_mut() = Some(expected);
        Ok(())
    }

    visit! {
        visit_bool(bool); visit_i8(i8); visit_i16(i16); visit_i32(i32); visit_i64(i64);
        visit_i128(i128); visit_u8(u8); visit_u16(u16); visit_u32(u32); visit_u64(u64);
        visit_u128(u128); visit_f32(f32); visit_f64(f64); visit_char(char);
    }

    visit_text! {
        visit_str(&str); visit_borrowed_str(&'de str); visit_string(String);
        visit_bytes(&[u8]); visit_borrowed_bytes(&'de [u8]); visit_byte_buf(Vec<u8>);
    }

    visit_inside! {
        visit_some<D: Deserializer>;
        visit_newtype_struct<D: Deserializer>;
        visit_seq<A: SeqAccess>;
        visit_map<A: MapAccess>;
        visit_enum<A: EnumAccess>;
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner
            .visit_none()
            .map_err(|refusal| self.trace.refuse(refusal))
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner
            .visit_unit()
            .map_err(|refusal| self.trace.refuse(refusal))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Tracer<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let trace = self.trace;
        let (seed, mut inside) = self.split(deserializer);
        if !inside.is_key {
            inside.names = &[];
        }
        seed.deserialize(inside)
            .map_err(|refusal| trace.refuse(refusal))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Tracer<'_, A> {
    type Error = Refusal;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refusal> {
        let name = self.names.get(self.count).copied();
        let step = self.step(name, Step::Element(self.count));
        self.count += 1;
        let (trace, seed) = (self.trace, Tracer::new(seed, self.trace));
        trace
            .down(step, || self.inner.next_element_seed(seed))
            .map_err(|_| trace.refused_below())
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Tracer<'_, A> {
    type Error = Refusal;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refusal> {
        self.trace.key.set(None);
        let seed = self.key(seed);
        self.inner
            .next_key_seed(seed)
            .map_err(|_| self.trace.refused_below())
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refusal> {
        let step = self.step(self.trace.key.take(), Step::Entry(self.count));
        self.count += 1;
        let (trace, seed) = (self.trace, Tracer::new(seed, self.trace));
        trace
            .down(step, || self.inner.next_value_seed(seed))
            .map_err(|_| trace.refused_below())
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 't, A: EnumAccess<'de>> EnumAccess<'de> for Tracer<'t, A> {
    type Error = Refusal;
    type Variant = Tracer<'t, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), Refusal> {
        let trace = self.trace;
        trace.key.set(None);
        let seed = self.key(seed);
        match self.inner.variant_seed(seed) {
            Ok((value, variant)) => Ok((value, Tracer::new(variant, trace))),
            Err(_) => Err(trace.refused_below()),
        }
    }
}

impl<'de, A: VariantAccess<'de>> Tracer<'_, A> {
    fn inside<T>(self, read: impl FnOnce(A) -> Result<T, A::Error>) -> Result<T, Refusal> {
        let Self { inner, trace, .. } = self;
        let result = match trace.key.take() {
            Some(variant) => trace.down(Step::Name(variant), || read(inner)),
            None => read(inner),
        };
        result.map_err(|_| trace.refused_below())
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Tracer<'_, A> {
    type Error = Refusal;

    fn unit_variant(self) -> Result<(), Refusal> {
        self.inside(A::unit_variant)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Refusal> {
        let seed = Tracer::new(seed, self.trace);
        self.inside(|variant| variant.newtype_variant_seed(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let visitor = Tracer::new(visitor, self.trace);
        self.inside(|variant| variant.tuple_variant(length, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let visitor = Tracer::new(visitor, self.trace).named(fields);
        self.inside(|variant| variant.struct_variant(fields, visitor))
    }
}
