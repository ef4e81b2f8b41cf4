//! `#[arg(...)]`: what is said of one argument.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{
    Attribute, Error, Expr, Ident, LitStr, Path, Result, Token, Type, ext::IdentExt as _,
    meta::ParseNestedMeta,
};

/// What `#[arg(...)]` said of one argument.
#[derive(Default)]
pub(crate) struct Argument {
    range: Vec<TokenStream>,
    length: Vec<TokenStream>,
    schema: Vec<TokenStream>,
    serde: Vec<TokenStream>,
    default: Option<Expr>,
    renamed: Option<LitStr>,
    /// What completes it.
    pub(crate) complete: Option<Path>,
    pub(crate) check: Vec<Path>,
}

const KNOWN: &str = "description, title, min, max, exclusive_min, exclusive_max, multiple_of, min_length, max_length, min_items, max_items, pattern, format, default, rename, example, header, check, complete";

impl Argument {
    /// Adds what one attribute says.
    pub(crate) fn read(&mut self, attribute: &Attribute) -> Result<()> {
        if matches!(attribute.meta, syn::Meta::Path(_)) {
            return Ok(());
        }
        attribute.parse_nested_meta(|meta| self.entry(&meta))
    }

    fn entry(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let name = meta.path.get_ident().map(Ident::to_string);
        match name.as_deref() {
            Some("default") if !meta.input.peek(Token![=]) => self.serde.push(quote!(default)),
            Some("default") => self.default = Some(meta.value()?.parse()?),
            Some(bound @ ("min" | "max")) => {
                let (bound, value) = (format_ident!("{bound}"), value(meta)?);
                self.range.push(quote!(#bound = #value));
            }
            Some("min_length" | "min_items") => {
                let value = value(meta)?;
                self.length.push(quote!(min = #value));
            }
            Some("max_length" | "max_items") => {
                let value = value(meta)?;
                self.length.push(quote!(max = #value));
            }
            Some("exclusive_min") => self.extend("exclusiveMinimum", meta)?,
            Some("exclusive_max") => self.extend("exclusiveMaximum", meta)?,
            Some("multiple_of") => self.extend("multipleOf", meta)?,
            Some("format") => self.extend("format", meta)?,
            Some("header") => self.extend("x-mcp-header", meta)?,
            Some("pattern") => {
                let pattern: LitStr = meta.value()?.parse()?;
                self.schema.push(quote!(regex(pattern = #pattern)));
            }
            Some(text @ ("description" | "title")) => {
                let (text, value) = (format_ident!("{text}"), value(meta)?);
                self.schema.push(quote!(#text = #value));
            }
            Some("example") => {
                let value = value(meta)?;
                self.schema.push(quote!(example = #value));
            }
            Some("rename") => {
                let to: LitStr = meta.value()?.parse()?;
                self.serde.push(quote!(rename = #to));
                self.renamed = Some(to);
            }
            Some("complete") => self.complete = Some(meta.value()?.parse()?),
            Some("check") => self.check.push(meta.value()?.parse()?),
            _ => {
                return Err(meta.error(format!("#[arg] knows {KNOWN}")));
            }
        }
        Ok(())
    }

    /// The name that clients know the argument by.
    pub(crate) fn shown(&self, name: &Ident) -> String {
        let renamed = self.renamed.as_ref().map(LitStr::value);
        renamed.unwrap_or_else(|| name.unraw().to_string())
    }

    fn extend(&mut self, keyword: &str, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let value = value(meta)?;
        self.schema.push(quote!(extend(#keyword = #value)));
        Ok(())
    }

    /// The attributes of the field, and the function that makes its default, named after `field`.
    pub(crate) fn attributes(&self, field: &Ident, ty: &Type) -> (Vec<Attribute>, TokenStream) {
        let mut attributes: Vec<Attribute> = Vec::new();
        let mut functions = TokenStream::new();
        let mut schema = self.schema.clone();
        for (name, bounds) in [("range", &self.range), ("length", &self.length)] {
            if !bounds.is_empty() {
                let name = format_ident!("{name}");
                schema.push(quote!(#name(#(#bounds),*)));
            }
        }
        for said in schema {
            attributes.push(syn::parse_quote!(#[schemars(#said)]));
        }
        for said in &self.serde {
            attributes.push(syn::parse_quote!(#[serde(#said)]));
        }
        if let Some(default) = &self.default {
            let function = format_ident!("__default_{}", field);
            let path = function.to_string();
            attributes.push(syn::parse_quote!(#[serde(default = #path)]));
            // A whole number could be converted from several types, of which the compiler would choose `i32`.
            let made = if is_whole(ty) {
                quote!(#default)
            } else {
                quote!(#default.into())
            };
            functions.extend(quote!(fn #function() -> #ty { #made }));
        }
        (attributes, functions)
    }
}

/// Whether a type is one of the whole numbers.
fn is_whole(ty: &Type) -> bool {
    const WHOLE: [&str; 12] = [
        "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize",
    ];
    matches!(ty, Type::Path(path) if WHOLE.iter().any(|name| path.path.is_ident(name)))
}

fn value(meta: &ParseNestedMeta<'_>) -> Result<Expr> {
    meta.value()?.parse()
}

/// Refuses what cannot be said of a value that is handed in.
pub(crate) fn refuse_on_injected(attribute: &Attribute) -> Error {
    Error::new_spanned(
        attribute,
        "this value is handed in and no argument of clients; leave the attribute out",
    )
}
