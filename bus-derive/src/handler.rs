//! `#[bus::handler]`: checks a handler where it is written.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned as _;
use syn::{FnArg, GenericArgument, ItemFn, Path, PathArguments, Result, ReturnType, Type};

/// Extractors that a handler takes at most.
const MAX_EXTRACTORS: usize = 8;

/// What is written in `#[handler(..)]`.
#[derive(Default)]
pub(crate) struct Options {
    state: Option<Type>,
    responder: bool,
    crate_path: Option<Path>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("state") {
                options.state = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("responder") {
                options.responder = true;
            } else if meta.path.is_ident("crate") {
                options.crate_path = Some(meta.value()?.parse::<syn::LitStr>()?.parse()?);
            } else {
                let text =
                    "unknown option; there are `state = Type`, `responder` and `crate = \"..\"`";
                return Err(meta.error(text));
            }
            Ok(())
        });
        syn::parse::Parser::parse2(parser, input.parse()?)?;
        Ok(options)
    }
}

/// The checks that stand beside the function; the function itself stays as it is.
pub(crate) fn checks(options: &Options, function: &ItemFn) -> Result<TokenStream> {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        let text = "a handler is an async function: write `async fn`";
        return Err(syn::Error::new_spanned(signature.fn_token, text));
    }
    let types = argument_types(function)?;
    let (input, extractors) = types.split_first().ok_or_else(|| {
        let text = "a handler takes an event first, or an `Envelope` of one";
        syn::Error::new_spanned(&signature.ident, text)
    })?;
    if let Some(extra) = extractors.get(MAX_EXTRACTORS) {
        let text = format!("a handler takes an event and at most {MAX_EXTRACTORS} extractors");
        return Err(syn::Error::new_spanned(extra, text));
    }
    let state = state(options, extractors)?;
    let bus = match &options.crate_path {
        Some(path) => path.clone(),
        None => syn::parse_quote!(::bus),
    };
    let mut checks = vec![input_check(&bus, input)];
    for extractor in extractors {
        checks.push(quote_spanned!(extractor.span()=> __extractor::<#extractor, #state>();));
    }
    checks.extend(output_check(options, input, &signature.output));
    let future = future_check(function, &types);
    let (declared, _, bounds) = signature.generics.split_for_impl();
    Ok(quote! {
        #[allow(dead_code, clippy::extra_unused_type_parameters)]
        const _: () = {
            fn __event<E: #bus::Event>() {}
            fn __input<T: #bus::Input<V>, V>() {}
            fn __extractor<T: #bus::FromContext<S>, S>() {}
            fn __outcome<R: #bus::IntoOutcome>() {}
            fn __outcomes<R: #bus::IntoOutcomes>() {}
            fn __reply<T, V, R, W>()
            where
                T: #bus::Input<V>,
                T::Event: #bus::Request,
                R: #bus::IntoReply<<T::Event as #bus::Request>::Reply, W>,
            {
            }
            fn __checks #declared () #bounds {
                #(#checks)*
            }
            #future
        };
    })
}

fn argument_types(function: &ItemFn) -> Result<Vec<&Type>> {
    let arguments = function.sig.inputs.iter().map(|argument| match argument {
        FnArg::Receiver(receiver) => {
            let text = "a handler is a free function: it takes no `self`; put what it needs into the \
                        worker's state";
            Err(syn::Error::new_spanned(receiver, text))
        }
        FnArg::Typed(argument) => match &*argument.ty {
            Type::ImplTrait(ty) => {
                let text = "a handler names the types of its arguments";
                Err(syn::Error::new_spanned(ty, text))
            }
            Type::Reference(ty) => {
                let text = "a handler owns its arguments: take the value, not a reference";
                Err(syn::Error::new_spanned(ty, text))
            }
            ty => Ok(ty),
        },
    });
    arguments.collect()
}

/// The state that the extractors are checked against.
fn state(options: &Options, extractors: &[&Type]) -> Result<TokenStream> {
    if let Some(state) = &options.state {
        return Ok(state.to_token_stream());
    }
    let mut found: Option<&Type> = None;
    for part in extractors.iter().filter_map(|ty| argument_of(ty, "State")) {
        match found {
            Some(other) if !same(other, part) => {
                let text = "handlers that take two parts of the state say the whole: \
                            `#[handler(state = App)]`";
                return Err(syn::Error::new_spanned(part, text));
            }
            _ => found = Some(part),
        }
    }
    Ok(found.map_or_else(|| quote!(()), ToTokens::to_token_stream))
}

/// Whether two types are written alike.
fn same(left: &Type, right: &Type) -> bool {
    left.to_token_stream().to_string() == right.to_token_stream().to_string()
}

/// `X` of `Name<X>`.
fn argument_of<'t>(ty: &'t Type, name: &str) -> Option<&'t Type> {
    let Type::Path(path) = ty else { return None };
    let last = path
        .path
        .segments
        .last()
        .filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first() {
        Some(GenericArgument::Type(inner)) => Some(inner),
        _ => None,
    }
}

/// Known shapes are looked into, so that the error is about the event.
fn input_check(bus: &Path, input: &Type) -> TokenStream {
    let batch = argument_of(input, "Vec").unwrap_or(input);
    match argument_of(batch, "Envelope") {
        Some(event) => quote_spanned!(event.span()=> __event::<#event>();),
        None if std::ptr::eq(batch, input) => {
            quote_spanned!(input.span()=> __input::<#input, _>();)
        }
        None => {
            let many = quote!(#bus::ViaVec<_>);
            quote_spanned!(batch.span()=> __input::<#input, #many>();)
        }
    }
}

fn output_check(options: &Options, input: &Type, output: &ReturnType) -> Option<TokenStream> {
    let (span, output) = match output {
        ReturnType::Type(_, ty) if matches!(**ty, Type::ImplTrait(_)) => return None,
        ReturnType::Type(_, ty) => (ty.span(), ty.to_token_stream()),
        ReturnType::Default => (Span::call_site(), quote!(())),
    };
    Some(if options.responder {
        quote_spanned!(span=> __reply::<#input, _, #output, _>();)
    } else if argument_of(input, "Vec").is_some() {
        quote_spanned!(span=> __outcomes::<#output>();)
    } else {
        quote_spanned!(span=> __outcome::<#output>();)
    })
}

/// The future is `Send`: the error says what lives across which `.await`.
fn future_check(function: &ItemFn, types: &[&Type]) -> TokenStream {
    let name = &function.sig.ident;
    let (declared, arguments, bounds) = function.sig.generics.split_for_impl();
    let arguments = arguments.as_turbofish();
    let names: Vec<_> = (0..types.len())
        .map(|index| format_ident!("__argument_{index}"))
        .collect();
    let span = Span::call_site().located_at(name.span());
    let call = quote_spanned!(span=> __send(#name #arguments (#(#names),*)));
    quote! {
        fn __future #declared (#(#names: #types),*) #bounds {
            fn __send<F: ::core::future::Future + ::core::marker::Send>(_: F) {}
            #call
        }
    }
}
