//! Texts with placeholders: `github.{event}.{action?}`.

use proc_macro2::Span;
use syn::{Ident, Index, LitStr, Member, Result};

use crate::grammar;

/// A part of a template.
#[derive(Clone)]
pub(crate) enum Piece {
    /// Text as it stands.
    Text(String),
    /// The name of a type parameter: its `EventName`.
    Parameter(Ident),
    /// The value of a field.
    Field(FieldPath),
}

/// A field, or a field of a field.
#[derive(Clone)]
pub(crate) struct FieldPath {
    /// As it was written.
    pub(crate) text: String,
    pub(crate) members: Vec<Member>,
    pub(crate) optional: bool,
    pub(crate) span: Span,
}

impl FieldPath {
    /// Where code about it stands: names are those of the macro's caller.
    pub(crate) fn code_span(&self) -> Span {
        Span::call_site().located_at(self.span)
    }

    /// Reads `repository.full_name`; errors point at `span`.
    pub(crate) fn parse(text: &str, optional: bool, span: Span) -> Result<Self> {
        let members = text.split('.').map(|name| member(name, span));
        Ok(Self {
            text: text.to_owned(),
            members: members.collect::<Result<_>>()?,
            optional,
            span,
        })
    }
}

/// A name of the macro's caller; what the compiler says about it points at `span`.
fn member(name: &str, span: Span) -> Result<Member> {
    if name.is_empty() {
        return Err(syn::Error::new(
            span,
            "a placeholder names a field, such as `{id}`",
        ));
    }
    let code = Span::call_site().located_at(span);
    if let Ok(index) = name.parse() {
        return Ok(Member::Unnamed(Index { index, span: code }));
    }
    let mut ident: Ident = syn::parse_str(name)
        .or_else(|_| syn::parse_str(&format!("r#{name}")))
        .map_err(|_| syn::Error::new(span, format!("`{name}` is no field name")))?;
    ident.set_span(code);
    Ok(Member::Named(ident))
}

/// Splits a template into its pieces; `parameters` are the type parameters that it may name.
pub(crate) fn parse(literal: &LitStr, parameters: &[Ident]) -> Result<Vec<Piece>> {
    let whole = literal.value();
    let mut pieces = Vec::new();
    let mut rest = whole.as_str();
    loop {
        let Some(open) = rest.find(['{', '}']) else {
            if !rest.is_empty() {
                pieces.push(Piece::Text(rest.to_owned()));
            }
            return Ok(pieces);
        };
        if open > 0 {
            pieces.push(Piece::Text(rest[..open].to_owned()));
        }
        let inside = rest[open..]
            .strip_prefix('{')
            .and_then(|inside| inside.split_once('}'));
        let Some((name, after)) = inside else {
            let text = "a placeholder is written `{field}`, `{field?}` or `{T}`";
            return Err(syn::Error::new_spanned(literal, text));
        };
        rest = after;
        let (name, optional) = match name.strip_suffix('?') {
            Some(name) => (name, true),
            None => (name, false),
        };
        match parameters.iter().find(|parameter| *parameter == name) {
            Some(parameter) if !optional => pieces.push(Piece::Parameter(parameter.clone())),
            _ => pieces.push(Piece::Field(FieldPath::parse(
                name,
                optional,
                literal.span(),
            )?)),
        }
    }
}

/// A topic with placeholders, by tokens.
pub(crate) struct TopicTemplate {
    pub(crate) tokens: Vec<Token>,
}

/// One token: text and values, or one optional value.
pub(crate) struct Token {
    pub(crate) pieces: Vec<Piece>,
}

impl Token {
    /// The value whose absence drops the token.
    pub(crate) fn optional(&self) -> Option<&FieldPath> {
        match self.pieces.as_slice() {
            [Piece::Field(path)] if path.optional => Some(path),
            _ => None,
        }
    }

    fn has_field(&self) -> bool {
        self.pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Field(_)))
    }
}

impl TopicTemplate {
    pub(crate) fn parse(literal: &LitStr, parameters: &[Ident]) -> Result<Self> {
        let mut tokens = vec![Token { pieces: Vec::new() }];
        for piece in parse(literal, parameters)? {
            let Piece::Text(text) = piece else {
                push(&mut tokens, piece);
                continue;
            };
            for (index, part) in text.split('.').enumerate() {
                if index > 0 {
                    tokens.push(Token { pieces: Vec::new() });
                }
                if !part.is_empty() {
                    push(&mut tokens, Piece::Text(part.to_owned()));
                }
            }
        }
        let template = Self { tokens };
        template.check(literal)?;
        Ok(template)
    }

    fn check(&self, literal: &LitStr) -> Result<()> {
        grammar::check_shape(&literal.value(), self.tokens.len(), literal)?;
        for token in &self.tokens {
            match token.pieces.as_slice() {
                [] => grammar::check_token("", literal)?,
                [Piece::Text(text)] => grammar::check_token(text, literal)?,
                pieces => self.check_pieces(pieces, literal)?,
            }
        }
        if self.tokens.iter().all(|token| token.optional().is_some()) {
            let text = "a topic has at least one token that is always there";
            return Err(syn::Error::new_spanned(literal, text));
        }
        Ok(())
    }

    fn check_pieces(&self, pieces: &[Piece], literal: &LitStr) -> Result<()> {
        for piece in pieces {
            match piece {
                Piece::Text(text) => grammar::check_characters(text, literal)?,
                Piece::Field(path) if path.optional && pieces.len() > 1 => {
                    let text = format!(
                        "`{{{}?}}` must be a whole token, because it is dropped when the value is missing",
                        path.text
                    );
                    return Err(syn::Error::new_spanned(literal, text));
                }
                Piece::Field(_) | Piece::Parameter(_) => {}
            }
        }
        Ok(())
    }

    /// The text, when there is no placeholder.
    pub(crate) fn constant(&self) -> Option<String> {
        let texts = self
            .tokens
            .iter()
            .map(|token| match token.pieces.as_slice() {
                [Piece::Text(text)] => Some(text.as_str()),
                _ => None,
            });
        Some(texts.collect::<Option<Vec<_>>>()?.join("."))
    }

    /// The pattern that covers every topic of this template: a value is `*`, and from the first token that
    /// may be missing on it is `>`.
    ///
    /// When nothing certain follows, the `>` takes the place of the token before, because it stands for at
    /// least one: `github.{event}.{action?}` is `github.>`.
    pub(crate) fn pattern(&self, literal: &LitStr) -> Result<Vec<Piece>> {
        let first_optional = self.tokens.iter().position(|t| t.optional().is_some());
        let kept = match first_optional {
            None => self.tokens.len(),
            Some(at) if self.tokens[at..].iter().any(|t| t.optional().is_none()) => at,
            Some(at) => at - 1,
        };
        if kept == 0 {
            let text = "the only pattern that covers all topics of this template is `>`, which is every \
                        topic; say which one: `pattern = \"..\"`";
            return Err(syn::Error::new_spanned(literal, text));
        }
        let mut pieces = Vec::new();
        for token in &self.tokens[..kept] {
            if token.has_field() {
                pieces.push(Piece::Text("*".to_owned()));
            } else {
                pieces.extend(token.pieces.iter().cloned());
            }
            pieces.push(Piece::Text(".".to_owned()));
        }
        if first_optional.is_some() {
            pieces.push(Piece::Text(">".to_owned()));
        } else {
            pieces.pop();
        }
        Ok(pieces)
    }
}

fn push(tokens: &mut [Token], piece: Piece) {
    if let Some(token) = tokens.last_mut() {
        token.pieces.push(piece);
    }
}
