//! One type of event: a struct, or a variant of an enum.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{DataStruct, DeriveInput, Fields, LitStr, Result, Type, Variant};

use crate::attributes::Attributes;
use crate::grammar;
use crate::payload::{Helper, mentions};
use crate::template::{self, Piece, TopicTemplate};
use crate::values::{Names, Root, binding, members};

/// The code of one type of event, part by part.
pub(crate) struct Case {
    /// Matches a value of this case and binds its fields.
    pub(crate) matcher: TokenStream,
    /// Name and aliases; none when the inner event's own are taken over.
    pub(crate) names: Vec<Vec<Piece>>,
    /// `Result<Vec<EventType>>`.
    pub(crate) types: TokenStream,
    /// `bool`, for a text `__type`.
    pub(crate) takes: TokenStream,
    /// `Cow<'static, str>`.
    pub(crate) event_type: TokenStream,
    /// `Result<Topic>`.
    pub(crate) topic: TokenStream,
    /// `Option<Bytes>`.
    pub(crate) key: TokenStream,
    /// `Option<Box<str>>`.
    pub(crate) subject: TokenStream,
    /// `Option<Box<str>>`.
    pub(crate) dataschema: TokenStream,
    /// `Cow<'static, str>`.
    pub(crate) content_type: TokenStream,
    /// `Result<Bytes>`.
    pub(crate) encode: TokenStream,
    /// `Result<Self>`.
    pub(crate) decode: TokenStream,
    /// Types whose traits the code needs, with those traits.
    pub(crate) bounds: Vec<(TokenStream, TokenStream)>,
    /// Where errors about this case belong.
    pub(crate) span: Span,
}

/// How a payload is written and read, and what may be taken over from it.
struct Payload<'a> {
    matcher: TokenStream,
    root: Root<'a>,
    inner: Option<&'a Type>,
    encode: TokenStream,
    decode: TokenStream,
    bounds: Vec<(TokenStream, TokenStream)>,
}

impl Case {
    pub(crate) fn of_struct(
        names: &Names,
        attributes: &Attributes,
        input: &DeriveInput,
        data: &DataStruct,
    ) -> Result<Self> {
        let payload = Payload {
            matcher: quote!(__event),
            root: Root::Value(&data.fields),
            inner: None,
            encode: quote!(__codec.to_bytes(__event)),
            decode: quote!(__codec.from_bytes(__payload)),
            bounds: vec![(quote!(Self), serde_traits(names))],
        };
        let span = attributes.span.unwrap_or_else(|| input.ident.span());
        Self::new(names, attributes, &Attributes::default(), payload, span)
    }

    pub(crate) fn of_variant(
        names: &Names,
        container: &Attributes,
        input: &DeriveInput,
        variant: &Variant,
    ) -> Result<Self> {
        let attributes = Attributes::parse(&variant.attrs)?;
        if let Some(path) = &attributes.crate_path {
            let text = "write `crate` on the enum";
            return Err(syn::Error::new_spanned(path, text));
        }
        let payload = Payload::of_variant(names, &attributes, input, variant)?;
        let span = attributes.span.unwrap_or_else(|| variant.ident.span());
        Self::new(names, &attributes, container, payload, span)
    }

    fn new(
        names: &Names,
        own: &Attributes,
        shared: &Attributes,
        payload: Payload<'_>,
        span: Span,
    ) -> Result<Self> {
        let Payload {
            matcher,
            root,
            inner,
            encode,
            decode,
            mut bounds,
        } = payload;
        let (bus, private) = (&names.bus, names.private());
        let topic = own.topic.as_ref().or(shared.topic.as_ref());
        let template = topic.map(|topic| TopicTemplate::parse(topic, &names.parameters));
        let template = template.transpose()?;
        check_complete(own, topic, inner, span)?;
        let type_names = type_names(names, own)?;

        let from_inner = |method: TokenStream| quote!(<#inner as #bus::Event>::#method);
        if let Some(inner) = inner.filter(|_| topic.is_none()) {
            bounds.push((inner.to_token_stream(), quote!(#bus::Event)));
        }
        let cows: Vec<_> = type_names.iter().map(|pieces| names.cow(pieces)).collect();
        let takes = match (cows.as_slice(), inner) {
            ([], Some(inner)) => quote!(<#inner as #bus::Event>::takes(__type)),
            (cows, _) => quote!(#(*#cows == *__type)||*),
        };
        let event_type = match cows.first() {
            Some(name) => name.clone(),
            None => {
                let method = from_inner(quote!(event_type));
                quote!(#method(__inner))
            }
        };
        let pattern = own.pattern.as_ref().or(shared.pattern.as_ref());
        let pattern = match (pattern, topic, &template) {
            (Some(literal), ..) => {
                grammar::check_pattern(literal)?;
                Some(vec![Piece::Text(literal.value())])
            }
            (None, Some(literal), Some(template)) => Some(template.pattern(literal)?),
            _ => None,
        };
        let types = match (pattern, cows.as_slice(), inner) {
            (Some(pattern), [name, aliases @ ..], _) => {
                let pattern = names.cow(&pattern);
                quote! {
                    #private::event_type(#name, ::std::vec![#(#aliases),*], &*#pattern)
                        .map(|__type| ::std::vec![__type])
                }
            }
            (None, [name, aliases @ ..], Some(inner)) => {
                quote!(#private::renamed::<#inner>(|| (#name, ::std::vec![#(#aliases),*])))
            }
            (Some(pattern), [], Some(inner)) => {
                let pattern = names.cow(&pattern);
                quote!(#private::on_pattern::<#inner>(&*#pattern))
            }
            (_, _, inner) => quote!(<#inner as #bus::Event>::types()),
        };
        let topic = match &template {
            Some(template) => root.topic(names, template)?,
            None => {
                let method = from_inner(quote!(topic));
                quote!(#method(__inner))
            }
        };
        let key = own.key.as_ref().or(shared.key.as_ref());
        let key = match key {
            Some(key) => root.key(names, key)?,
            None => taken_over(&private, inner, &quote!(key)),
        };
        let subject = own.subject.as_ref().or(shared.subject.as_ref());
        let subject = match subject {
            Some(text) => root.text(names, &template::parse(text, &names.parameters)?)?,
            None => taken_over(&private, inner, &quote!(subject)),
        };
        let dataschema = own.dataschema.as_ref().or(shared.dataschema.as_ref());
        let dataschema = match dataschema {
            Some(uri) => quote!(::core::option::Option::Some(::core::convert::Into::into(#uri))),
            None => taken_over(&private, inner, &quote!(dataschema)),
        };
        let content_type = match (type_names.is_empty(), inner) {
            (true, Some(_)) => {
                let method = from_inner(quote!(content_type));
                quote!(#method(__inner, __codec))
            }
            _ => quote!(#private::Cow::Borrowed(__codec.content_type())),
        };
        Ok(Self {
            matcher,
            names: type_names,
            types,
            takes,
            event_type,
            topic,
            key,
            subject,
            dataschema,
            content_type,
            encode,
            decode,
            bounds,
            span,
        })
    }
}

impl<'a> Payload<'a> {
    fn of_variant(
        names: &Names,
        attributes: &Attributes,
        input: &DeriveInput,
        variant: &'a Variant,
    ) -> Result<Self> {
        let (bus, private) = (&names.bus, names.private());
        let name = &variant.ident;
        let newtype = match &variant.fields {
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => fields.unnamed.first(),
            _ => None,
        };
        if let Some(field) = newtype {
            let inner = &field.ty;
            let (encode, decode, bound) = if attributes.event_type.is_some() {
                (
                    quote!(__codec.to_bytes(__inner)),
                    quote!(__codec.from_bytes(__payload).map(Self::#name)),
                    serde_traits(names),
                )
            } else {
                (
                    quote!(<#inner as #bus::Event>::encode(__inner, __codec)),
                    quote! {
                        <#inner as #bus::Event>::decode(__event_type, __payload, __codec).map(Self::#name)
                    },
                    quote!(#bus::Event),
                )
            };
            return Ok(Self {
                matcher: quote!(Self::#name(__inner)),
                root: Root::Inner,
                inner: Some(inner),
                encode,
                decode,
                bounds: vec![(inner.to_token_stream(), bound)],
            });
        }
        if matches!(variant.fields, Fields::Unit) {
            return Ok(Self {
                matcher: quote!(Self::#name),
                root: Root::Bound(&variant.fields),
                inner: None,
                encode: quote!(__codec.to_bytes(&())),
                decode: quote! {
                    __codec
                        .from_bytes::<#private::serde::de::IgnoredAny>(__payload)
                        .map(|_| Self::#name)
                },
                bounds: Vec::new(),
            });
        }
        let helper = Helper::new(names, &input.attrs, &input.generics, variant)?;
        let bindings = members(&variant.fields).into_iter().map(|member| {
            let binding = binding(&member);
            quote!(#member: #binding)
        });
        let types: TokenStream = variant
            .fields
            .iter()
            .map(|f| f.ty.to_token_stream())
            .collect();
        let parameters = names.parameters.iter();
        let parameters =
            parameters.filter(|name| mentions(types.clone(), std::slice::from_ref(name)));
        Ok(Self {
            matcher: quote!(Self::#name { #(#bindings),* }),
            root: Root::Bound(&variant.fields),
            inner: None,
            encode: helper.encode(),
            decode: helper.decode(),
            bounds: parameters
                .map(|name| (quote!(#name), serde_traits(names)))
                .collect(),
        })
    }
}

fn serde_traits(names: &Names) -> TokenStream {
    let private = names.private();
    quote!(#private::serde::Serialize + #private::serde::de::DeserializeOwned)
}

/// What an inner event says, or nothing when the inner value is none.
fn taken_over(private: &TokenStream, inner: Option<&Type>, method: &TokenStream) -> TokenStream {
    match inner {
        Some(_) => quote!(#private::Inner(__inner).#method()),
        None => quote!(::core::option::Option::None),
    }
}

/// Name and aliases as templates over type parameters.
fn type_names(names: &Names, attributes: &Attributes) -> Result<Vec<Vec<Piece>>> {
    let Some(event_type) = &attributes.event_type else {
        return match attributes.aliases.first() {
            Some(alias) => Err(syn::Error::new_spanned(
                alias,
                "an alias needs a `type` beside it",
            )),
            None => Ok(Vec::new()),
        };
    };
    let mut all = vec![type_name(names, event_type)?];
    if let Some(version) = &attributes.version {
        all[0].push(Piece::Text(format!(".v{}", version.base10_digits())));
        all[0] = joined(std::mem::take(&mut all[0]));
    }
    for alias in &attributes.aliases {
        all.push(type_name(names, alias)?);
    }
    Ok(all)
}

/// Neighbouring texts in one.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (joined.last_mut(), piece) {
            (Some(Piece::Text(text)), Piece::Text(more)) => text.push_str(&more),
            (_, piece) => joined.push(piece),
        }
    }
    joined
}

fn type_name(names: &Names, literal: &LitStr) -> Result<Vec<Piece>> {
    let pieces = template::parse(literal, &names.parameters)?;
    for piece in &pieces {
        let text = match piece {
            Piece::Field(path) => format!(
                "`{}` is no type parameter: a type is the same for all values, so it names no field",
                path.text
            ),
            Piece::Text(text) if text.chars().any(|c| c.is_whitespace() || c.is_control()) => {
                "a type holds no white space".to_owned()
            }
            Piece::Text(_) | Piece::Parameter(_) => continue,
        };
        return Err(syn::Error::new_spanned(literal, text));
    }
    Ok(pieces)
}

/// A type and a topic must be said, unless the value inside says them.
fn check_complete(
    own: &Attributes,
    topic: Option<&LitStr>,
    inner: Option<&Type>,
    span: Span,
) -> Result<()> {
    let text = match (own.event_type.is_some(), topic.is_some(), inner) {
        (true, true, _) | (_, _, Some(_)) => return Ok(()),
        (false, false, None) => {
            "an event says its type and its topic: `#[event(type = \"order.placed\", topic = \"orders.placed\")]`"
        }
        (false, true, None) => "`type` is missing, such as `type = \"order.placed\"`",
        (true, false, None) => "`topic` is missing, such as `topic = \"orders.placed\"`",
    };
    Err(syn::Error::new(span, text))
}
