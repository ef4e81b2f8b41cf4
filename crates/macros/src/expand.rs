//! From a function to a component.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Ident, ItemFn, Result};

use crate::{
    build::{self, Callee, Kind},
    signature::Signature,
};

pub(crate) fn tool(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    function(Kind::Tool, options, item)
}

pub(crate) fn resource(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    function(Kind::Resource, options, item)
}

pub(crate) fn prompt(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    function(Kind::Prompt, options, item)
}

pub(crate) fn completion(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    function(Kind::Completion, options, item)
}

/// The type and value that stand for the component, and its trait.
fn function(kind: Kind, options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut function: ItemFn = syn::parse2(item)?;
    let attribute = kind.attribute();
    let signature = Signature::take(&function.attrs, &mut function.sig, attribute, false)?;
    let name = &signature.name;
    let callee = Callee {
        path: quote!(#name),
        takes_self: false,
    };
    let made = build::builder(kind, options, &signature, &callee)?;
    let ident = |text: &str| Ident::new(text, Span::call_site());
    let (into, method, builder) = match kind {
        Kind::Tool => ("IntoTool", "into_tool", "ToolBuilder"),
        Kind::Resource => ("IntoResource", "into_resource", "ResourceBuilder"),
        Kind::Prompt => ("IntoPrompt", "into_prompt", "PromptBuilder"),
        Kind::Completion => ("IntoCompletion", "into_completion", "CompletionBuilder"),
    };
    let (into, method, builder) = (ident(into), ident(method), ident(builder));
    let of = matches!(kind, Kind::Completion).then(|| quote!(<::fastmcp::__private::Made>));
    let visibility = &function.vis;
    let docs: Vec<_> = function
        .attrs
        .iter()
        .filter(|a| a.path().is_ident("doc"))
        .collect();
    let docs_of_value = &docs;
    let call = forward(&function);
    // The function lives in a block of its own, so that its name is free: for a type, through which
    // it is called, and for a function that makes the type's one value. A function's name does not
    // stand in the way of variables and parameters, as that of a unit struct does.
    Ok(quote! {
        #(#docs)*
        #[allow(non_camel_case_types, reason = "the type keeps the function's name")]
        #[derive(Clone, Copy, Debug)]
        #visibility struct #name {}

        #(#docs_of_value)*
        #[allow(dead_code, reason = "some are only called, through the type")]
        #[must_use]
        #visibility const fn #name() -> #name {
            #name {}
        }

        const _: () = {
            #[allow(clippy::unused_async, clippy::needless_pass_by_value, clippy::too_many_arguments, reason = "arguments are owned, and `async` says where the function runs")]
            #function

            impl #name {
                #call
            }

            impl ::fastmcp::#into #of for #name {
                #[allow(unused_imports, unused_variables, clippy::unused_unit, clippy::let_unit_value, clippy::useless_conversion, reason = "what is made is general")]
                fn #method(self) -> ::fastmcp::#builder {
                    #made
                }
            }
        };
    })
}

/// The method that calls the function itself.
fn forward(function: &ItemFn) -> TokenStream {
    let (visibility, name) = (&function.vis, &function.sig.ident);
    let (asyncness, output) = (&function.sig.asyncness, &function.sig.output);
    let mut inputs = function.sig.inputs.clone();
    let mut handed = Vec::new();
    for input in &mut inputs {
        if let syn::FnArg::Typed(typed) = input {
            // `mut` is the function's own affair, a pattern may have no name, and an argument with
            // the function's name would hide the function.
            let argument = match &*typed.pat {
                syn::Pat::Ident(pattern) if pattern.ident != *name => pattern.ident.clone(),
                _ => quote::format_ident!("argument_{}", handed.len()),
            };
            typed.pat = syn::parse_quote!(#argument);
            handed.push(argument);
        }
    }
    let awaited = asyncness.map(|_| quote!(.await));
    quote! {
        /// Calls the function itself.
        #[allow(dead_code, clippy::too_many_arguments, clippy::unused_async, reason = "for tests and other functions")]
        #visibility #asyncness fn call(#inputs) #output {
            #name(#(#handed),*)#awaited
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Expand = fn(TokenStream, TokenStream) -> Result<TokenStream>;

    fn refusal(expand: Expand, options: &str, item: &str) -> String {
        let (options, item) = (options.parse().unwrap(), item.parse().unwrap());
        expand(options, item).unwrap_err().to_string()
    }

    #[test]
    fn functions_that_cannot_be_components_are_refused_with_what_to_do() {
        let message = |item| refusal(tool, "", item);
        assert_eq!(
            message("async fn greet(name: &str) -> String { name.to_owned() }"),
            "arguments are owned: write `String` for `&str`, `Vec<T>` for `&[T]`"
        );
        assert_eq!(
            message("async fn show<T: ToString>(value: T) -> String { value.to_string() }"),
            "#[tool] cannot describe a generic function; name the types"
        );
        assert_eq!(
            message("async fn price(&self) -> i64 { 1 }"),
            "#[tool] goes on a function without `self`; put `#[tools]` on the `impl` block of a method"
        );
        assert_eq!(
            message("async fn add((a, b): (i64, i64)) -> i64 { a + b }"),
            "#[tool] needs a name for each argument"
        );
        assert_eq!(message("struct Shop;"), "expected `fn`");
    }

    #[test]
    fn options_that_an_attribute_does_not_have_are_refused_with_those_that_it_has() {
        let now = "fn now() -> i64 { 1 }";
        assert_eq!(
            refusal(tool, "readonly", now),
            "#[tool] knows no `readonly` in this form; it knows name = \"...\", title = \"...\", description = \"...\", version = \"...\", deprecated = \"...\", feature = \"...\", timeout = 30, inline, task, task_required, begins_task, read_only, destructive, idempotent, open_world, tags(\"...\"), scopes(\"...\"), icons(\"...\"), meta(\"...\" = ...)"
        );
        assert_eq!(
            refusal(tool, r#"name = "a", name = "b""#, now),
            "`name` is given twice"
        );
        assert_eq!(
            refusal(prompt, r#""now""#, now),
            "#[prompt] takes no bare text; write `name = \"...\"`"
        );
        assert_eq!(
            refusal(resource, "", now),
            "#[resource] needs a URI: #[resource(\"data://config\")]"
        );
    }
}
