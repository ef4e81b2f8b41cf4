//! What stands in the parentheses of an attribute.

use proc_macro2::{Span, TokenStream};
use syn::{
    Error, Ident, LitStr, Result, Token, parenthesized,
    parse::{Parse, ParseStream, Parser},
    punctuated::Punctuated,
};

/// The options of all three attributes.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) uri: Option<LitStr>,
    pub(crate) name: Option<LitStr>,
    pub(crate) title: Option<LitStr>,
    pub(crate) description: Option<LitStr>,
    pub(crate) mime_type: Option<LitStr>,
    pub(crate) flags: Vec<Ident>,
    pub(crate) tags: Vec<LitStr>,
    pub(crate) scopes: Vec<LitStr>,
}

/// Which options an attribute has.
pub(crate) struct Allowed {
    pub(crate) attribute: &'static str,
    pub(crate) texts: &'static [&'static str],
    pub(crate) flags: &'static [&'static str],
}

enum Entry {
    Uri(LitStr),
    Flag(Ident),
    Text(Ident, LitStr),
    List(Ident, Vec<LitStr>),
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(LitStr) {
            return input.parse().map(Self::Uri);
        }
        let name: Ident = input.parse()?;
        if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            return Ok(Self::Text(name, input.parse()?));
        }
        if input.peek(syn::token::Paren) {
            let inner;
            parenthesized!(inner in input);
            let items = Punctuated::<LitStr, Token![,]>::parse_terminated(&inner)?;
            return Ok(Self::List(name, items.into_iter().collect()));
        }
        Ok(Self::Flag(name))
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
                    "#[{}] takes no bare text; write `name = \"...\"`",
                    allowed.attribute
                ),
            )),
            Entry::Flag(flag) if allowed.flags.contains(&flag.to_string().as_str()) => {
                self.flags.push(flag);
                Ok(())
            }
            Entry::Text(name, text) if allowed.texts.contains(&name.to_string().as_str()) => {
                let slot = match name.to_string().as_str() {
                    "name" => &mut self.name,
                    "title" => &mut self.title,
                    "description" => &mut self.description,
                    _ => &mut self.mime_type,
                };
                set(slot, text, &name.to_string())
            }
            Entry::List(name, items) if name == "tags" => {
                self.tags.extend(items);
                Ok(())
            }
            Entry::List(name, items) if name == "scopes" => {
                self.scopes.extend(items);
                Ok(())
            }
            Entry::Flag(name) | Entry::Text(name, _) | Entry::List(name, _) => {
                Err(unknown(&name, allowed))
            }
        }
    }

    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
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
}

fn set(slot: &mut Option<LitStr>, text: LitStr, name: &str) -> Result<()> {
    if slot.is_some() {
        return Err(Error::new_spanned(text, format!("`{name}` is given twice")));
    }
    *slot = Some(text);
    Ok(())
}

fn unknown(name: &Ident, allowed: &Allowed) -> Error {
    let mut known: Vec<String> = allowed
        .texts
        .iter()
        .map(|t| format!("{t} = \"...\""))
        .collect();
    known.extend(allowed.flags.iter().map(|f| (*f).to_owned()));
    known.extend(["tags(\"...\")".to_owned(), "scopes(\"...\")".to_owned()]);
    Error::new_spanned(
        name,
        format!(
            "#[{}] knows no `{name}` in this form; it knows {}",
            allowed.attribute,
            known.join(", ")
        ),
    )
}
