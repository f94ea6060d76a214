//! What is written in `#[event(..)]`.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned as _;
use syn::{Attribute, LitInt, LitStr, Path, Result};

/// The attributes of a type or of a variant.
#[derive(Default)]
pub(crate) struct Attributes {
    pub(crate) event_type: Option<LitStr>,
    pub(crate) aliases: Vec<LitStr>,
    pub(crate) version: Option<LitInt>,
    pub(crate) topic: Option<LitStr>,
    pub(crate) pattern: Option<LitStr>,
    pub(crate) key: Option<LitStr>,
    pub(crate) subject: Option<LitStr>,
    pub(crate) dataschema: Option<LitStr>,
    pub(crate) crate_path: Option<Path>,
    /// The first `#[event]`, for errors about all of it.
    pub(crate) span: Option<Span>,
}

impl Attributes {
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut parsed = Self::default();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("event")) {
            parsed.span.get_or_insert_with(|| attribute.span());
            attribute.parse_nested_meta(|meta| parsed.take(&meta))?;
        }
        Ok(parsed)
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let Some(name) = meta.path.get_ident().map(ToString::to_string) else {
            return Err(unknown(meta));
        };
        match name.as_str() {
            "type" => text(meta, &mut self.event_type),
            "topic" => text(meta, &mut self.topic),
            "pattern" => text(meta, &mut self.pattern),
            "key" => text(meta, &mut self.key),
            "subject" => text(meta, &mut self.subject),
            "dataschema" => text(meta, &mut self.dataschema),
            "alias" => {
                let mut alias = None;
                text(meta, &mut alias)?;
                self.aliases.extend(alias);
                Ok(())
            }
            "version" => {
                let version: LitInt = meta.value()?.parse()?;
                if version.base10_parse::<u32>().is_ok_and(|number| number > 0) {
                    return once(meta, &mut self.version, version);
                }
                Err(syn::Error::new_spanned(
                    version,
                    "a version is a whole number from 1, such as `version = 2`",
                ))
            }
            "crate" => {
                let path = meta.value()?.parse::<LitStr>()?.parse()?;
                once(meta, &mut self.crate_path, path)
            }
            _ => Err(unknown(meta)),
        }
    }

    /// Refuses what has no meaning on an enum as a whole.
    pub(crate) fn check_enum(&self) -> Result<()> {
        let misplaced = self.event_type.as_ref().or(self.aliases.first());
        if let Some(literal) = misplaced {
            let text = "an enum has one type per variant: write `type` and `alias` on the variants";
            return Err(syn::Error::new_spanned(literal, text));
        }
        match &self.version {
            Some(version) => Err(syn::Error::new_spanned(
                version,
                "an enum has one type per variant: write `version` on the variants",
            )),
            None => Ok(()),
        }
    }
}

fn once<T>(meta: &ParseNestedMeta<'_>, place: &mut Option<T>, value: T) -> Result<()> {
    if place.replace(value).is_some() {
        return Err(meta.error("this attribute is given twice"));
    }
    Ok(())
}

fn text(meta: &ParseNestedMeta<'_>, place: &mut Option<LitStr>) -> Result<()> {
    let literal: LitStr = meta.value()?.parse()?;
    if literal.value().is_empty() {
        return Err(syn::Error::new_spanned(
            literal,
            "this text must not be empty",
        ));
    }
    once(meta, place, literal)
}

fn unknown(meta: &ParseNestedMeta<'_>) -> syn::Error {
    meta.error(
        "unknown attribute; there are `type`, `alias`, `version`, `topic`, `pattern`, `key`, `subject`, \
         `dataschema` and `crate`",
    )
}
