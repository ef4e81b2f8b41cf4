//! The expression that makes a completion.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Error, Result, Type, ext::IdentExt as _};

use crate::{
    build::{self, Callee},
    options::{Allowed, Options},
    signature::{Field, Param, Signature, inside, is_named},
};

pub(crate) const ALLOWED: Allowed = Allowed {
    attribute: "completion",
    example: "prompt",
    texts: &["prompt", "resource", "argument"],
    flags: &["inline"],
    lists: &[],
};

/// How a parameter gets its text.
enum Text {
    Borrowed,
    Owned,
    /// It may not be there yet.
    Optional,
}

impl Text {
    fn of(ty: &Type) -> Option<Self> {
        match ty {
            Type::Reference(reference) => {
                let is_text = reference.mutability.is_none() && is_named(&reference.elem, "str");
                is_text.then_some(Self::Borrowed)
            }
            ty if is_named(ty, "String") => Some(Self::Owned),
            ty if is_named(ty, "Option") => {
                let is_text = inside(ty).is_some_and(|ty| is_named(&ty, "String"));
                is_text.then_some(Self::Optional)
            }
            _ => None,
        }
    }
}

/// The expression that makes the builder.
pub(crate) fn builder(
    options: &Options,
    signature: &Signature,
    callee: &Callee,
) -> Result<TokenStream> {
    let place = place(options)?;
    let (mut texts, mut handed, mut is_first) = (TokenStream::new(), Vec::new(), true);
    for (index, param) in signature.params.iter().enumerate() {
        match param {
            Param::Injected(name, _) => handed.push(quote!(#name)),
            Param::Field(field) => {
                let (made, given) = text(field, index, is_first)?;
                texts.extend(made);
                handed.push(given);
                is_first = false;
            }
        }
    }
    if is_first {
        return Err(Error::new_spanned(
            &signature.name,
            "a completion takes what was typed: its first argument is a `&str` or a `String`",
        ));
    }
    let run = build::run(signature, options, callee, &handed);
    let (injected, needs) = (signature.inject(), signature.needs());
    let this = callee
        .takes_self
        .then(|| quote!(let __this = ::std::sync::Arc::clone(&__this);));
    Ok(quote! {{
        let __builder = ::fastmcp::CompletionBuilder::from_parts(
            move |__params: ::fastmcp::protocol::completion::CompleteParams<'static>, __context: ::fastmcp::Context| {
                #this
                async move {
                    #texts
                    #injected
                    #run
                    ::fastmcp::__private::CompletionOutput::into_completion(__value)
                }
            },
        );
        #place
        #needs
        __builder
    }})
}

/// Whose argument is completed, where that is said.
fn place(options: &Options) -> Result<Option<TokenStream>> {
    let wrong = || {
        Error::new(
            Span::call_site(),
            "#[completion] says whose argument it completes: #[completion(prompt = \"greet\", argument = \"name\")] \
             or #[completion(resource = \"data://{id}\", argument = \"id\")]; without options it is for #[arg(complete = ...)]",
        )
    };
    match (&options.prompt, &options.resource, &options.argument) {
        (None, None, None) => Ok(None),
        (Some(name), None, Some(argument)) => Ok(Some(
            quote!(let __builder = __builder.prompt(#name, #argument);),
        )),
        (None, Some(uri), Some(argument)) => Ok(Some(
            quote!(let __builder = __builder.resource(#uri, #argument);),
        )),
        _ => Err(wrong()),
    }
}

/// Where a text comes from, and how it is handed to the function.
fn text(field: &Field, index: usize, is_first: bool) -> Result<(TokenStream, TokenStream)> {
    let name = format_ident!("__text_{index}");
    let shown = field.name.unraw().to_string();
    let settled = quote!(::fastmcp::__private::settled(&__params, #shown));
    // Without it there is nothing to go by yet.
    let demanded = quote! {
        let ::core::option::Option::Some(#name) = #settled else {
            return ::core::result::Result::Ok(::core::default::Default::default());
        };
    };
    let typed = quote! {
        let #name = ::std::string::String::from(&*__params.argument.value);
    };
    match (Text::of(&field.ty), is_first) {
        (Some(Text::Borrowed), true) => Ok((typed, quote!(&#name))),
        (Some(Text::Owned), true) => Ok((typed, quote!(#name))),
        (Some(Text::Borrowed), false) => Ok((demanded, quote!(&#name))),
        (Some(Text::Owned), false) => Ok((demanded, quote!(#name))),
        (Some(Text::Optional), false) => Ok((quote!(let #name = #settled;), quote!(#name))),
        (_, true) => Err(Error::new_spanned(
            &field.ty,
            "what was typed is text: the first argument of a completion is a `&str` or a `String`",
        )),
        (None, false) => Err(Error::new_spanned(
            &field.ty,
            "what is settled for another argument is text: an `Option<String>`, or a `String` without which there are no values",
        )),
    }
}
