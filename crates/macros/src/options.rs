//! What stands in the parentheses of an attribute.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{
    Error, Expr, Ident, Lit, LitBool, LitStr, Result, Token,
    ext::IdentExt as _,
    parenthesized,
    parse::{Parse, ParseStream, Parser},
    punctuated::Punctuated,
};

/// The options of all attributes.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) uri: Option<LitStr>,
    pub(crate) name: Option<LitStr>,
    pub(crate) title: Option<LitStr>,
    pub(crate) description: Option<LitStr>,
    pub(crate) mime_type: Option<LitStr>,
    pub(crate) version: Option<LitStr>,
    pub(crate) deprecated: Option<LitStr>,
    pub(crate) feature: Option<LitStr>,
    pub(crate) prompt: Option<LitStr>,
    pub(crate) resource: Option<LitStr>,
    pub(crate) argument: Option<LitStr>,
    /// The time in milliseconds.
    pub(crate) timeout: Option<u64>,
    pub(crate) flags: Vec<(Ident, bool)>,
    pub(crate) tags: Vec<LitStr>,
    pub(crate) scopes: Vec<LitStr>,
    pub(crate) icons: Vec<LitStr>,
    pub(crate) unscreened: Vec<LitStr>,
    pub(crate) meta: Vec<(LitStr, Expr)>,
}

/// Which options an attribute has.
pub(crate) struct Allowed {
    pub(crate) attribute: &'static str,
    /// An option that takes a text, for who wrote a text without one.
    pub(crate) example: &'static str,
    pub(crate) texts: &'static [&'static str],
    pub(crate) flags: &'static [&'static str],
    pub(crate) lists: &'static [&'static str],
}

impl Allowed {
    /// Whether clients are told `_meta`: of components.
    fn has_meta(&self) -> bool {
        self.lists.contains(&"tags")
    }
}

enum Entry {
    Uri(LitStr),
    Flag(Ident, bool),
    Value(Ident, Lit),
    List(Ident, Vec<LitStr>),
    Pairs(Ident, Vec<(LitStr, Expr)>),
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(LitStr) {
            return input.parse().map(Self::Uri);
        }
        let name = Ident::parse_any(input)?;
        if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            if input.peek(LitBool) {
                return Ok(Self::Flag(name, input.parse::<LitBool>()?.value));
            }
            return Ok(Self::Value(name, input.parse()?));
        }
        if input.peek(syn::token::Paren) {
            let inner;
            parenthesized!(inner in input);
            if inner.peek2(Token![=]) {
                let pairs = Punctuated::<Pair, Token![,]>::parse_terminated(&inner)?;
                let pairs = pairs.into_iter().map(|p| (p.0, p.1)).collect();
                return Ok(Self::Pairs(name, pairs));
            }
            let items = Punctuated::<LitStr, Token![,]>::parse_terminated(&inner)?;
            return Ok(Self::List(name, items.into_iter().collect()));
        }
        Ok(Self::Flag(name, true))
    }
}

struct Pair(LitStr, Expr);

impl Parse for Pair {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let key = input.parse()?;
        input.parse::<Token![=]>()?;
        Ok(Self(key, input.parse()?))
    }
}

impl Options {
    pub(crate) fn parse(tokens: TokenStream, allowed: &Allowed) -> Result<Self> {
        let entries = Punctuated::<Entry, Token![,]>::parse_terminated.parse2(tokens)?;
        let mut options = Self::default();
        for entry in entries {
            options.take(entry, allowed)?;
        }
        Ok(options)
    }

    fn take(&mut self, entry: Entry, allowed: &Allowed) -> Result<()> {
        match entry {
            Entry::Uri(uri) if allowed.attribute == "resource" => set(&mut self.uri, uri, "URI"),
            Entry::Uri(text) => Err(Error::new_spanned(
                text,
                format!(
                    "#[{}] takes no bare text; write `{} = \"...\"`",
                    allowed.attribute, allowed.example
                ),
            )),
            Entry::Flag(flag, on) if allowed.flags.contains(&flag.to_string().as_str()) => {
                self.flags.push((flag, on));
                Ok(())
            }
            Entry::Value(name, value) if allowed.texts.contains(&name.to_string().as_str()) => {
                self.value(&name, value)
            }
            Entry::List(name, items) if allowed.lists.contains(&name.to_string().as_str()) => {
                let list = match name.to_string().as_str() {
                    "tags" => &mut self.tags,
                    "scopes" => &mut self.scopes,
                    "icons" => &mut self.icons,
                    _ => &mut self.unscreened,
                };
                list.extend(items);
                Ok(())
            }
            Entry::Pairs(name, pairs) if allowed.has_meta() && name == "meta" => {
                self.meta.extend(pairs);
                Ok(())
            }
            Entry::Flag(name, _)
            | Entry::Value(name, _)
            | Entry::List(name, _)
            | Entry::Pairs(name, _) => Err(unknown(&name, allowed)),
        }
    }

    fn value(&mut self, name: &Ident, value: Lit) -> Result<()> {
        let text = name.to_string();
        if text == "timeout" {
            if self.timeout.replace(milliseconds(&value)?).is_some() {
                return Err(Error::new_spanned(value, "`timeout` is given twice"));
            }
            return Ok(());
        }
        let Lit::Str(value) = value else {
            return Err(Error::new_spanned(
                value,
                format!("`{text}` is a text: {text} = \"...\""),
            ));
        };
        let slot = match text.as_str() {
            "name" => &mut self.name,
            "title" => &mut self.title,
            "description" => &mut self.description,
            "version" => &mut self.version,
            "deprecated" => &mut self.deprecated,
            "feature" => &mut self.feature,
            "prompt" => &mut self.prompt,
            "resource" => &mut self.resource,
            "argument" => &mut self.argument,
            _ => &mut self.mime_type,
        };
        set(slot, value, &text)
    }

    /// Whether a flag is set.
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.said(flag) == Some(true)
    }

    /// What is said of a flag.
    pub(crate) fn said(&self, flag: &str) -> Option<bool> {
        self.flags
            .iter()
            .rfind(|(name, _)| name == flag)
            .map(|(_, on)| *on)
    }

    /// The URI of a resource.
    pub(crate) fn required_uri(&self) -> Result<&LitStr> {
        self.uri.as_ref().ok_or_else(|| {
            Error::new(
                Span::call_site(),
                "#[resource] needs a URI: #[resource(\"data://config\")]",
            )
        })
    }

    /// The calls on `__builder` for what all components have; `doc` is the function's doc comment.
    pub(crate) fn calls(&self, doc: Option<&str>) -> TokenStream {
        let said = |text: &Option<LitStr>| text.as_ref().map(LitStr::value);
        let description = said(&self.description).or_else(|| doc.map(str::to_owned));
        let description =
            description.map(|text| quote!(let __builder = __builder.description(#text);));
        let title = said(&self.title).map(|text| quote!(let __builder = __builder.title(#text);));
        let version =
            said(&self.version).map(|text| quote!(let __builder = __builder.version(#text);));
        let deprecated =
            said(&self.deprecated).map(|text| quote!(let __builder = __builder.deprecated(#text);));
        let feature =
            said(&self.feature).map(|text| quote!(let __builder = __builder.feature(#text);));
        let timeout = self.timeout.map(|ms| {
            quote! {
                let __builder = __builder.timeout(::core::time::Duration::from_millis(#ms));
            }
        });
        let (tags, scopes, icons) = (&self.tags, &self.scopes, &self.icons);
        let unscreened = &self.unscreened;
        let meta = (!self.meta.is_empty()).then(|| {
            let pairs = self.meta.iter().map(|(key, value)| {
                quote!(let __meta = __meta.with(#key, ::fastmcp::__private::serde_json::json!(#value));)
            });
            quote! {
                let __meta = ::fastmcp::protocol::content::Meta::default();
                #(#pairs)*
                let __builder = __builder.meta(__meta);
            }
        });
        quote! {
            #description
            #title
            #version
            #deprecated
            #feature
            #timeout
            #meta
            #(let __builder = __builder.tag(#tags);)*
            #(let __builder = __builder.require_scope(#scopes);)*
            #(let __builder = __builder.icon(::fastmcp::protocol::content::Icon::new(#icons));)*
            #(let __builder = __builder.unscreened(#unscreened);)*
        }
    }
}

/// A time: `30` and `1.5` are seconds, and there is `"500ms"`, `"30s"` and `"5m"`.
fn milliseconds(value: &Lit) -> Result<u64> {
    let wrong = || {
        Error::new_spanned(
            value,
            "`timeout` is above zero: seconds as in 30 or 1.5, or text as in \"500ms\", \"30s\" and \"5m\"",
        )
    };
    let ms = match value {
        Lit::Int(seconds) => seconds
            .base10_parse::<u64>()
            .ok()
            .and_then(|s| s.checked_mul(1_000)),
        Lit::Float(seconds) => seconds
            .base10_parse::<f64>()
            .ok()
            .and_then(|s| std::time::Duration::try_from_secs_f64(s).ok())
            .and_then(|time| u64::try_from(time.as_millis()).ok()),
        Lit::Str(text) => {
            let text = text.value();
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let each = match text.get(digits.len()..) {
                Some("ms") => Some(1),
                Some("s") => Some(1_000),
                Some("m") => Some(60_000),
                _ => None,
            };
            each.and_then(|each| digits.parse::<u64>().ok()?.checked_mul(each))
        }
        _ => None,
    };
    ms.filter(|ms| *ms > 0).ok_or_else(wrong)
}

fn set(slot: &mut Option<LitStr>, text: LitStr, name: &str) -> Result<()> {
    if slot.is_some() {
        return Err(Error::new_spanned(text, format!("`{name}` is given twice")));
    }
    *slot = Some(text);
    Ok(())
}

fn unknown(name: &Ident, allowed: &Allowed) -> Error {
    let texts = allowed.texts.iter().map(|t| match *t {
        "timeout" => "timeout = 30".to_owned(),
        t => format!("{t} = \"...\""),
    });
    let mut known: Vec<String> = texts.collect();
    known.extend(allowed.flags.iter().map(|f| (*f).to_owned()));
    known.extend(allowed.lists.iter().map(|l| format!("{l}(\"...\")")));
    if allowed.has_meta() {
        known.push("meta(\"...\" = ...)".to_owned());
    }
    Error::new_spanned(
        name,
        format!(
            "#[{}] knows no `{name}` in this form; it knows {}",
            allowed.attribute,
            known.join(", ")
        ),
    )
}
