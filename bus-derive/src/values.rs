//! Code that reads fields and puts texts together.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Fields, Ident, LitStr, Member, Path, Result};

use crate::template::{FieldPath, Piece, TopicTemplate};

/// Paths that the generated code starts from.
pub(crate) struct Names {
    /// The crate `bus`.
    pub(crate) bus: Path,
    /// Its type parameters, which templates may name.
    pub(crate) parameters: Vec<Ident>,
}

impl Names {
    pub(crate) fn private(&self) -> TokenStream {
        let bus = &self.bus;
        quote!(#bus::__private)
    }

    /// The `EventName` of a type parameter, as text.
    fn parameter(&self, parameter: &Ident) -> TokenStream {
        let bus = &self.bus;
        quote!(&*<#parameter as #bus::EventName>::event_name())
    }

    /// An expression of `Cow<'static, str>`: text and names of type parameters.
    pub(crate) fn cow(&self, pieces: &[Piece]) -> TokenStream {
        let private = self.private();
        if let [Piece::Text(text)] = pieces {
            return quote!(#private::Cow::<'static, str>::Borrowed(#text));
        }
        let parts = pieces.iter().map(|piece| match piece {
            Piece::Text(text) => quote!(#text),
            Piece::Parameter(parameter) => self.parameter(parameter),
            Piece::Field(_) => quote!(""),
        });
        quote!(#private::Cow::<'static, str>::Owned([#(#parts),*].concat()))
    }
}

/// Where the fields of a value are found.
pub(crate) enum Root<'a> {
    /// Behind the binding `__event`.
    Value(&'a Fields),
    /// Bound one by one, as by [`binding`].
    Bound(&'a Fields),
    /// Inside the only field of the variant, behind the binding `__inner`.
    Inner,
}

/// The name that a field is bound to.
pub(crate) fn binding(member: &Member) -> Ident {
    match member {
        Member::Named(name) => format_ident!("__field_{}", name),
        Member::Unnamed(index) => format_ident!("__field_{}", index.index),
    }
}

/// The fields as they are addressed.
pub(crate) fn members(fields: &Fields) -> Vec<Member> {
    fields.members().collect()
}

impl Root<'_> {
    /// Whether the first field exists, as far as the macro can see.
    fn check(&self, path: &FieldPath) -> Result<()> {
        let (Self::Value(fields) | Self::Bound(fields)) = self else {
            return Ok(());
        };
        let known = members(fields);
        if path
            .members
            .first()
            .is_some_and(|first| known.contains(first))
        {
            return Ok(());
        }
        let known: Vec<_> = known
            .iter()
            .map(|m| format!("`{}`", m.to_token_stream()))
            .collect();
        let text = match known.as_slice() {
            [] => format!("there is no field `{}`, and no other", path.text),
            known => format!(
                "there is no field `{}`; there are {}",
                path.text,
                known.join(", ")
            ),
        };
        Err(syn::Error::new(path.span, text))
    }

    /// An expression of `Option<&_>`: the value of `path`; `None` when an `Option` on the way is.
    pub(crate) fn open(&self, names: &Names, path: &FieldPath) -> Result<TokenStream> {
        self.check(path)?;
        let private = names.private();
        let span = path.code_span();
        let (first, mut rest) = match self {
            Self::Value(_) => {
                let first = &path.members[0];
                (quote_spanned!(span=> &__event.#first), &path.members[1..])
            }
            Self::Bound(_) => {
                let first = binding(&path.members[0]);
                (quote!(#first), &path.members[1..])
            }
            Self::Inner => (quote!(__inner), path.members.as_slice()),
        };
        if let (Self::Inner, [Member::Unnamed(index), after @ ..]) = (self, rest)
            && index.index == 0
        {
            rest = after;
        }
        let mut opened = quote!(#private::Probe(#first).open());
        for member in rest {
            let field = quote_spanned!(span=> &__value.#member);
            opened = quote!(#opened.and_then(|__value| #private::Probe(#field).open()));
        }
        Ok(opened)
    }

    /// An expression of `Result<Topic>`.
    pub(crate) fn topic(&self, names: &Names, template: &TopicTemplate) -> Result<TokenStream> {
        let private = names.private();
        if let Some(text) = template.constant() {
            return Ok(quote!({
                static __TOPIC: #private::OnceLock<#private::Topic> = #private::OnceLock::new();
                #private::constant_topic(&__TOPIC, #text)
            }));
        }
        let mut steps = Vec::new();
        for token in &template.tokens {
            if let Some(path) = token.optional() {
                let (value, text) = (self.open(names, path)?, &path.text);
                steps.push(quote! {
                    if let ::core::option::Option::Some(__value) = #value {
                        __topic.token().field(#text, ::core::option::Option::Some(__value))?;
                    }
                });
                continue;
            }
            steps.push(quote!(__topic.token();));
            for piece in &token.pieces {
                steps.push(match piece {
                    Piece::Text(text) => quote!(__topic.text(#text);),
                    Piece::Parameter(parameter) => {
                        let name = names.parameter(parameter);
                        quote!(__topic.text(#name);)
                    }
                    Piece::Field(path) => {
                        let (value, text) = (self.open(names, path)?, &path.text);
                        quote_spanned! {path.code_span()=>
                            __topic.field(#text, #value.map(|__value| __value as &dyn ::core::fmt::Display))?;
                        }
                    }
                });
            }
        }
        Ok(quote!({
            let mut __topic = #private::TopicBuilder::new();
            #(#steps)*
            __topic.finish()
        }))
    }

    /// An expression of `Option<Bytes>`.
    pub(crate) fn key(&self, names: &Names, literal: &LitStr) -> Result<TokenStream> {
        let private = names.private();
        let path = FieldPath::parse(&literal.value(), true, literal.span())?;
        let value = self.open(names, &path)?;
        Ok(
            quote_spanned!(path.code_span()=> #value.map(|__value| #private::KeyOf(__value).bytes())),
        )
    }

    /// An expression of `Option<Box<str>>`: a missing value means none.
    pub(crate) fn text(&self, names: &Names, pieces: &[Piece]) -> Result<TokenStream> {
        let mut steps = Vec::new();
        for piece in pieces {
            let part = match piece {
                Piece::Text(text) => quote!(#text),
                Piece::Parameter(parameter) => names.parameter(parameter),
                Piece::Field(path) => {
                    let value = self.open(names, path)?;
                    quote!(&::std::string::ToString::to_string(#value?))
                }
            };
            steps.push(quote!(__text.push_str(#part);));
        }
        Ok(quote!((|| {
            let mut __text = ::std::string::String::new();
            #(#steps)*
            ::core::option::Option::Some(__text.into_boxed_str())
        })()))
    }
}
