//! The implementations as a whole.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Generics, Ident, Result, WhereClause};

use crate::attributes::Attributes;
use crate::case::Case;
use crate::payload::{mentions, parameter_name};
use crate::template::Piece;
use crate::values::Names;

/// `#[derive(Event)]`.
pub(crate) fn event(input: &DeriveInput) -> Result<TokenStream> {
    let attributes = Attributes::parse(&input.attrs)?;
    let bus = match &attributes.crate_path {
        Some(path) => path.clone(),
        None => syn::parse_quote!(::bus),
    };
    if let Some(lifetime) = input.generics.lifetimes().next() {
        let text = "an event owns its data: it cannot borrow";
        return Err(syn::Error::new_spanned(lifetime, text));
    }
    let parameters = input
        .generics
        .type_params()
        .map(|p| p.ident.clone())
        .collect();
    let names = Names { bus, parameters };
    let cases = cases(&names, &attributes, input)?;
    check_distinct(&cases)?;

    let where_clause = where_clause(&names, input, &cases);
    let event = event_impl(&names, input, &cases, &where_clause);
    let name = match (&input.data, cases.as_slice()) {
        (Data::Struct(_), [case]) => name_impl(&names, input, case),
        _ => TokenStream::new(),
    };
    Ok(quote!(#event #name))
}

fn cases(names: &Names, attributes: &Attributes, input: &DeriveInput) -> Result<Vec<Case>> {
    match &input.data {
        Data::Struct(data) => Ok(vec![Case::of_struct(names, attributes, input, data)?]),
        Data::Enum(data) => {
            attributes.check_enum()?;
            if data.variants.is_empty() {
                let text = "an enum without variants has no type of event";
                return Err(syn::Error::new_spanned(&input.ident, text));
            }
            let mut cases = Vec::new();
            let mut errors: Option<syn::Error> = None;
            for variant in &data.variants {
                match (
                    Case::of_variant(names, attributes, input, variant),
                    &mut errors,
                ) {
                    (Ok(case), _) => cases.push(case),
                    (Err(error), Some(errors)) => errors.combine(error),
                    (Err(error), none) => *none = Some(error),
                }
            }
            errors.map_or(Ok(cases), Err)
        }
        Data::Union(data) => {
            let text = "a union cannot be an event";
            Err(syn::Error::new_spanned(data.union_token, text))
        }
    }
}

/// Two variants must not be read from one type.
fn check_distinct(cases: &[Case]) -> Result<()> {
    let mut seen = Vec::new();
    for case in cases {
        for name in &case.names {
            let [Piece::Text(text)] = name.as_slice() else {
                continue;
            };
            if seen.contains(&text) {
                let text = format!("the type `{text}` is given twice");
                return Err(syn::Error::new(case.span, text));
            }
            seen.push(text);
        }
    }
    Ok(())
}

/// What a generic event asks of its parameters: only what the code needs.
fn where_clause(names: &Names, input: &DeriveInput, cases: &[Case]) -> Option<WhereClause> {
    let mut generics: Generics = input.generics.clone();
    let all: Vec<Ident> = generics.params.iter().filter_map(parameter_name).collect();
    if all.is_empty() {
        return generics.where_clause;
    }
    let mut predicates = name_bounds(names, cases);
    predicates.push(quote!(
        Self: ::core::marker::Send + ::core::marker::Sync + 'static
    ));
    for (bounded, traits) in cases.iter().flat_map(|case| &case.bounds) {
        let generic = bounded.to_string() == "Self" || mentions(bounded.clone(), &all);
        if generic {
            predicates.push(quote!(#bounded: #traits));
        }
    }
    let clause = generics.make_where_clause();
    for predicate in predicates {
        clause.predicates.push(syn::parse_quote!(#predicate));
    }
    generics.where_clause
}

/// Parameters that lend their names.
fn name_bounds(names: &Names, cases: &[Case]) -> Vec<TokenStream> {
    let bus = &names.bus;
    let used = names.parameters.iter().filter(|parameter| {
        cases.iter().any(|case| {
            let code = [&case.types, &case.event_type, &case.topic, &case.subject];
            code.into_iter().any(|code| {
                let name = quote!(<#parameter as #bus::EventName>).to_string();
                code.to_string().contains(&name)
            })
        })
    });
    used.map(|parameter| quote!(#parameter: #bus::EventName))
        .collect()
}

fn event_impl(
    names: &Names,
    input: &DeriveInput,
    cases: &[Case],
    where_clause: &Option<WhereClause>,
) -> TokenStream {
    let (bus, private) = (&names.bus, names.private());
    let name = &input.ident;
    let text = name.to_string();
    let (declared, arguments, _) = input.generics.split_for_impl();
    let matched = |part: fn(&Case) -> &TokenStream| {
        let arms = cases.iter().map(|case| {
            let (matcher, part) = (&case.matcher, part(case));
            quote!(#matcher => #part,)
        });
        quote!(match self { #(#arms)* })
    };
    let event_type = matched(|case| &case.event_type);
    let topic = matched(|case| &case.topic);
    let key = matched(|case| &case.key);
    let subject = matched(|case| &case.subject);
    let dataschema = matched(|case| &case.dataschema);
    let content_type = matched(|case| &case.content_type);
    let encode = matched(|case| &case.encode);
    let takes: Vec<_> = cases.iter().map(|case| &case.takes).collect();
    let types = cases.iter().map(|case| &case.types);
    let decodes = cases.iter().map(|case| &case.decode);
    let only = cases.len() == 1;
    quote! {
        #[automatically_derived]
        #[allow(unused_imports, unused_variables)]
        impl #declared #bus::Event for #name #arguments #where_clause {
            fn types() -> #private::Result<::std::vec::Vec<#bus::EventType>> {
                let mut __types = ::std::vec::Vec::new();
                #(__types.extend(#types?);)*
                ::core::result::Result::Ok(__types)
            }

            fn takes(__type: &str) -> bool {
                #(#takes)||*
            }

            fn event_type(&self) -> #private::Cow<'static, str> {
                #event_type
            }

            fn topic(&self) -> #private::Result<#private::Topic> {
                use #private::ProbeAny as _;
                #topic
            }

            fn key(&self) -> ::core::option::Option<#private::Bytes> {
                use #private::{KeyText as _, NoEvent as _, ProbeAny as _};
                #key
            }

            fn subject(&self) -> ::core::option::Option<::std::boxed::Box<str>> {
                use #private::{NoEvent as _, ProbeAny as _};
                #subject
            }

            fn dataschema(&self) -> ::core::option::Option<::std::boxed::Box<str>> {
                use #private::NoEvent as _;
                #dataschema
            }

            fn content_type(&self, __codec: &dyn #bus::Codec) -> #private::Cow<'static, str> {
                #content_type
            }

            fn encode(&self, __codec: &dyn #bus::Codec) -> #private::Result<#private::Bytes> {
                #encode
            }

            fn decode(
                __event_type: ::core::option::Option<&str>,
                __payload: &#private::Bytes,
                __codec: &dyn #bus::Codec,
            ) -> #private::Result<Self> {
                #(
                    if __event_type.map_or(#only, |__type| #takes) {
                        return #decodes;
                    }
                )*
                ::core::result::Result::Err(#private::other_type(__event_type, #text))
            }
        }
    }
}

/// The event's own type is the name that it lends to generic events.
fn name_impl(names: &Names, input: &DeriveInput, case: &Case) -> TokenStream {
    let (bus, private) = (&names.bus, names.private());
    let name = &input.ident;
    let (declared, arguments, where_clause) = input.generics.split_for_impl();
    let own = where_clause.map(|clause| &clause.predicates);
    let bounds = name_bounds(names, std::slice::from_ref(case));
    let event_type = &case.event_type;
    quote! {
        #[automatically_derived]
        impl #declared #bus::EventName for #name #arguments where #(#bounds,)* #own {
            fn event_name() -> #private::Cow<'static, str> {
                #event_type
            }
        }
    }
}
