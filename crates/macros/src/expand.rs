//! From a function to a component.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Ident, LitStr, Result};

use crate::{
    options::{Allowed, Options},
    signature::{Signature, call},
};

const TOOL: Allowed = Allowed {
    attribute: "tool",
    texts: &["name", "title", "description"],
    flags: &[
        "inline",
        "task",
        "task_required",
        "begins_task",
        "read_only",
        "destructive",
        "idempotent",
        "open_world",
    ],
};
const RESOURCE: Allowed = Allowed {
    attribute: "resource",
    texts: &["name", "title", "description", "mime_type"],
    flags: &["inline"],
};
const PROMPT: Allowed = Allowed {
    attribute: "prompt",
    texts: &["name", "title", "description"],
    flags: &["inline"],
};

pub(crate) fn tool(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let options = Options::parse(options, &TOOL)?;
    let signature = Signature::parse(item, "tool")?;
    let name = name(&options, &signature);
    let output = &signature.output;
    let result = run(&signature, &options);
    let hints = [
        ("read_only", quote!(read_only_hint)),
        ("destructive", quote!(destructive_hint)),
        ("idempotent", quote!(idempotent_hint)),
        ("open_world", quote!(open_world_hint)),
    ]
    .into_iter()
    .filter(|(flag, _)| options.has(flag))
    .map(|(_, field)| quote!(__annotations.#field = ::core::option::Option::Some(true);))
    .collect::<Vec<_>>();
    let annotations = (!hints.is_empty()).then(|| {
        quote! {
            let mut __annotations = ::fastmcp::protocol::tool::ToolAnnotations::default();
            #(#hints)*
            let __builder = __builder.annotations(__annotations);
        }
    });
    let support = match (options.has("task"), options.has("task_required")) {
        (_, true) => Some(quote!(Required)),
        (true, false) => Some(quote!(Optional)),
        (false, false) => None,
    };
    let support = support.map(|support| {
        quote!(let __builder = __builder.task(::fastmcp::protocol::tool::TaskSupport::#support);)
    });
    let begins = options
        .has("begins_task")
        .then(|| quote!(let __builder = __builder.begins_task();));
    let build = quote! {
        use ::fastmcp::__private::{EmitJson as _, EmitOutput as _};
        let __builder = ::fastmcp::ToolBuilder::from_parts(
            #name,
            (&&::fastmcp::__private::Emit::<#output>::NEW).schema(),
            |__args: Args, __context: ::fastmcp::Context| async move {
                let __value: #output = #result;
                (&&::fastmcp::__private::Emit::<#output>::NEW).emit(__value)
            },
        );
        #annotations
        #support
        #begins
    };
    Ok(component(
        &options,
        &signature,
        &build,
        &Trait {
            name: "IntoTool",
            method: "into_tool",
            builder: "ToolBuilder",
        },
    ))
}

pub(crate) fn resource(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let options = Options::parse(options, &RESOURCE)?;
    let signature = Signature::parse(item, "resource")?;
    let uri = options.required_uri()?.clone();
    let name = name(&options, &signature);
    let output = &signature.output;
    let result = run(&signature, &options);
    let mime_type = options
        .mime_type
        .as_ref()
        .map(|m| quote!(let __builder = __builder.mime_type(#m);));
    let build = quote! {
        let __builder = ::fastmcp::ResourceBuilder::new(
            #uri,
            #name,
            |__args: Args, __context: ::fastmcp::Context| async move {
                let __value: #output = #result;
                ::fastmcp::Result::<#output>::Ok(__value)
            },
        );
        #mime_type
    };
    Ok(component(
        &options,
        &signature,
        &build,
        &Trait {
            name: "IntoResource",
            method: "into_resource",
            builder: "ResourceBuilder",
        },
    ))
}

pub(crate) fn prompt(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let options = Options::parse(options, &PROMPT)?;
    let signature = Signature::parse(item, "prompt")?;
    let name = name(&options, &signature);
    let output = &signature.output;
    let result = run(&signature, &options);
    let build = quote! {
        let __builder = ::fastmcp::PromptBuilder::new(
            #name,
            |__args: Args, __context: ::fastmcp::Context| async move {
                let __value: #output = #result;
                ::fastmcp::Result::<#output>::Ok(__value)
            },
        );
    };
    Ok(component(
        &options,
        &signature,
        &build,
        &Trait {
            name: "IntoPrompt",
            method: "into_prompt",
            builder: "PromptBuilder",
        },
    ))
}

struct Trait {
    name: &'static str,
    method: &'static str,
    builder: &'static str,
}

fn name(options: &Options, signature: &Signature) -> LitStr {
    options
        .name
        .clone()
        .unwrap_or_else(|| LitStr::new(&signature.name.to_string(), signature.name.span()))
}

/// The expression that runs the function and takes its value out of a `Result`.
fn run(signature: &Signature, options: &Options) -> TokenStream {
    let call = call(signature);
    let run = if signature.function.sig.asyncness.is_some() {
        quote!(#call.await)
    } else if options.has("inline") {
        call
    } else {
        quote!(::fastmcp::__private::blocking(move || #call).await?)
    };
    if signature.fallible {
        quote!(match #run {
            ::core::result::Result::Ok(value) => value,
            ::core::result::Result::Err(error) => return ::core::result::Result::Err(::fastmcp::Error::from(error)),
        })
    } else {
        run
    }
}

/// The calls that describe the component in words.
fn texts(options: &Options, signature: &Signature) -> Vec<TokenStream> {
    let said = |text: &Option<LitStr>| text.as_ref().map(LitStr::value);
    let description = said(&options.description).or_else(|| signature.doc.clone());
    let description = description.map(|text| quote!(let __builder = __builder.description(#text);));
    let title = said(&options.title).map(|text| quote!(let __builder = __builder.title(#text);));
    description.into_iter().chain(title).collect()
}

/// The type and value that stand for the component, and its trait.
fn component(
    options: &Options,
    signature: &Signature,
    build: &TokenStream,
    implemented: &Trait,
) -> TokenStream {
    let ident = |text: &str| Ident::new(text, Span::call_site());
    let (into, method, builder) = (
        ident(implemented.name),
        ident(implemented.method),
        ident(implemented.builder),
    );
    let (name, visibility) = (&signature.name, &signature.function.vis);
    let fields = signature.fields().map(|f| {
        let (attributes, name, ty) = (&f.attributes, &f.name, &f.ty);
        quote!(#(#attributes)* #name: #ty)
    });
    let texts = texts(options, signature);
    let (tags, scopes) = (&options.tags, &options.scopes);
    let docs = signature
        .function
        .attrs
        .iter()
        .filter(|a| a.path().is_ident("doc"))
        .collect::<Vec<_>>();
    let docs_of_value = &docs;
    let inner = &signature.function;
    let call = forward(signature);
    let into = quote! {
        impl ::fastmcp::#into for #name {
            #[allow(unused_imports, unused_variables, clippy::unused_unit, clippy::let_unit_value, reason = "what is made is general")]
            fn #method(self) -> ::fastmcp::#builder {
                #build
                #(#texts)*
                #(let __builder = __builder.tag(#tags);)*
                #(let __builder = __builder.require_scope(#scopes);)*
                __builder
            }
        }
    };
    // The function lives in a block of its own, so that its name is free: for a type, through which
    // it is called, and for a function that makes the type's one value. A function's name does not
    // stand in the way of variables and parameters, as that of a unit struct does.
    quote! {
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
            #[allow(clippy::unused_async, clippy::needless_pass_by_value, reason = "arguments are owned, and `async` says where the function runs")]
            #inner

            impl #name {
                #call
            }

            #[derive(::fastmcp::__private::serde::Deserialize, ::fastmcp::__private::schemars::JsonSchema)]
            #[serde(crate = "::fastmcp::__private::serde", deny_unknown_fields)]
            #[schemars(crate = "::fastmcp::__private::schemars")]
            struct Args { #(#fields),* }

            #into
        };
    }
}

/// The method that calls the function itself.
fn forward(signature: &Signature) -> TokenStream {
    let (visibility, name) = (&signature.function.vis, &signature.name);
    let (asyncness, output) = (
        &signature.function.sig.asyncness,
        &signature.function.sig.output,
    );
    let mut inputs = signature.function.sig.inputs.clone();
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
            "#[tool] goes on a function without `self`"
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
            "#[tool] knows no `readonly` in this form; it knows name = \"...\", title = \"...\", description = \"...\", inline, task, task_required, begins_task, read_only, destructive, idempotent, open_world, tags(\"...\"), scopes(\"...\")"
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
