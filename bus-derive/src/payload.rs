//! Code that writes and reads the payload of a variant.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Attribute, Fields, Generics, Ident, Result, Token, Variant, WherePredicate};

use crate::values::{Names, binding, members};

/// Whether `tokens` name one of `names`.
pub(crate) fn mentions(tokens: TokenStream, names: &[Ident]) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => names.contains(&ident),
        TokenTree::Group(group) => mentions(group.stream(), names),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// The struct that stands for a variant on the wire: the same fields, its own derive.
pub(crate) struct Helper<'a> {
    names: &'a Names,
    variant: &'a Variant,
    generics: Generics,
    attributes: TokenStream,
}

impl<'a> Helper<'a> {
    pub(crate) fn new(
        names: &'a Names,
        container: &[Attribute],
        generics: &Generics,
        variant: &'a Variant,
    ) -> Result<Self> {
        Ok(Self {
            names,
            variant,
            generics: used(generics, &variant.fields),
            attributes: serde_attributes(names, container, variant)?,
        })
    }

    /// An expression of `Result<Bytes>`; the fields are bound.
    pub(crate) fn encode(&self) -> TokenStream {
        let private = self.names.private();
        let attributes = &self.attributes;
        let mut generics = self.generics.clone();
        if !self.variant.fields.is_empty() {
            generics.params.insert(0, syn::parse_quote!('__bus));
        }
        let (declared, _, bounds) = generics.split_for_impl();
        let fields = self.fields(|ty| quote!(&'__bus #ty));
        let values = members(&self.variant.fields).into_iter().map(|member| {
            let value = binding(&member);
            quote!(#member: #value)
        });
        let body = body(&self.variant.fields, &fields, &bounds.to_token_stream());
        quote!({
            #[derive(#private::serde::Serialize)]
            #attributes
            #[allow(dead_code)]
            struct __Payload #declared #body
            __codec.to_bytes(&__Payload { #(#values),* })
        })
    }

    /// An expression of `Result<Self>`.
    pub(crate) fn decode(&self) -> TokenStream {
        let private = self.names.private();
        let attributes = &self.attributes;
        let (declared, arguments, bounds) = self.generics.split_for_impl();
        let fields = self.fields(ToTokens::to_token_stream);
        let name = &self.variant.ident;
        let values = members(&self.variant.fields)
            .into_iter()
            .map(|member| quote!(#member: __payload.#member));
        let body = body(&self.variant.fields, &fields, &bounds.to_token_stream());
        let arguments = arguments.as_turbofish();
        quote!({
            #[derive(#private::serde::Deserialize)]
            #attributes
            #[allow(dead_code)]
            struct __Payload #declared #body
            __codec
                .from_bytes::<__Payload #arguments>(__payload)
                .map(|__payload| Self::#name { #(#values),* })
        })
    }

    fn fields(&self, ty: impl Fn(&syn::Type) -> TokenStream) -> Vec<TokenStream> {
        let fields = self.variant.fields.iter();
        fields
            .map(|field| {
                let serde = field.attrs.iter().filter(|a| a.path().is_ident("serde"));
                let name = field.ident.as_ref().map(|name| quote!(#name:));
                let ty = ty(&field.ty);
                quote!(#(#serde)* #name #ty)
            })
            .collect()
    }
}

fn body(shape: &Fields, fields: &[TokenStream], bounds: &TokenStream) -> TokenStream {
    match shape {
        Fields::Named(_) => quote!(#bounds { #(#fields),* }),
        Fields::Unnamed(_) | Fields::Unit => quote!((#(#fields),*) #bounds;),
    }
}

/// Only the parameters that the fields name, so that the helper has none that is unused.
fn used(generics: &Generics, fields: &Fields) -> Generics {
    let all: Vec<_> = generics.params.iter().filter_map(parameter_name).collect();
    let types: TokenStream = fields
        .iter()
        .map(|field| field.ty.to_token_stream())
        .collect();
    let kept = |name: &Ident| mentions(types.clone(), std::slice::from_ref(name));
    let dropped: Vec<_> = all.iter().filter(|name| !kept(name)).cloned().collect();
    let mut used = Generics::default();
    for parameter in &generics.params {
        if parameter_name(parameter).is_some_and(|name| kept(&name)) {
            used.params.push(parameter.clone());
        }
    }
    let predicates = generics
        .where_clause
        .iter()
        .flat_map(|clause| &clause.predicates);
    let predicates: Vec<&WherePredicate> = predicates
        .filter(|predicate| !mentions(predicate.to_token_stream(), &dropped))
        .collect();
    if !predicates.is_empty() {
        let clause = used.make_where_clause();
        clause.predicates.extend(predicates.into_iter().cloned());
    }
    used
}

pub(crate) fn parameter_name(parameter: &syn::GenericParam) -> Option<Ident> {
    match parameter {
        syn::GenericParam::Type(parameter) => Some(parameter.ident.clone()),
        syn::GenericParam::Const(parameter) => Some(parameter.ident.clone()),
        syn::GenericParam::Lifetime(_) => None,
    }
}

/// What serde is told about a variant, said of a struct.
fn serde_attributes(
    names: &Names,
    container: &[Attribute],
    variant: &Variant,
) -> Result<TokenStream> {
    let of_variant = serde_metas(&variant.attrs, &["rename_all", "bound"])?;
    let own_case = of_variant.iter().any(|(name, _)| name == "rename_all");
    let of_variant = of_variant.into_iter();
    let mut metas: Vec<_> = of_variant
        .map(|(name, value)| quote!(#name #value))
        .collect();
    for (name, value) in serde_metas(container, &["rename_all_fields", "deny_unknown_fields"])? {
        if name == "deny_unknown_fields" {
            metas.push(quote!(#name));
        } else if !own_case {
            metas.push(quote!(rename_all #value));
        }
    }
    let private = names.private();
    let serde = quote!(#private::serde).to_string().replace(' ', "");
    Ok(quote!(#[serde(crate = #serde #(, #metas)*)]))
}

/// The entries of these names in `#[serde(..)]`, each with what follows its name.
fn serde_metas(attributes: &[Attribute], wanted: &[&str]) -> Result<Vec<(Ident, TokenStream)>> {
    let mut found = Vec::new();
    for attribute in attributes.iter().filter(|a| a.path().is_ident("serde")) {
        attribute.parse_nested_meta(|meta| {
            let mut value = TokenStream::new();
            while !meta.input.is_empty() && !meta.input.peek(Token![,]) {
                value.extend([meta.input.parse::<TokenTree>()?]);
            }
            if let Some(name) = meta.path.get_ident()
                && wanted.iter().any(|wanted| name == wanted)
            {
                found.push((name.clone(), value));
            }
            Ok(())
        })?;
    }
    Ok(found)
}
