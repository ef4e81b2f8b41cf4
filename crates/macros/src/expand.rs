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

/// The value that stands for the component, and its trait.
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
    let description = options
        .description
        .as_ref()
        .map(LitStr::value)
        .or_else(|| signature.doc.clone());
    let texts = [
        ("description", description),
        ("title", options.title.as_ref().map(LitStr::value)),
    ]
    .into_iter()
    .filter_map(|(method, text)| text.map(|text| (ident(method), text)))
    .map(|(method, text)| quote!(let __builder = __builder.#method(#text);));
    let (tags, scopes) = (&options.tags, &options.scopes);
    let docs = signature
        .function
        .attrs
        .iter()
        .filter(|a| a.path().is_ident("doc"));
    let mut function = signature.function.clone();
    function.vis = syn::parse_quote!(pub);
    function.sig.ident = ident("call");
    let inner_name = &signature.function.sig.ident;
    let inner = &signature.function;
    let (inputs, output, asyncness) = (
        &function.sig.inputs,
        &function.sig.output,
        &function.sig.asyncness,
    );
    let forwarded = inputs.iter().filter_map(|i| match i {
        syn::FnArg::Typed(t) => Some(&t.pat),
        syn::FnArg::Receiver(_) => None,
    });
    let awaited = asyncness.map(|_| quote!(.await));
    // The function lives in a block of its own, so that its name is free for the value.
    quote! {
        #(#docs)*
        #[allow(non_camel_case_types, reason = "the value keeps the function's name")]
        #[derive(Clone, Copy, Debug)]
        #visibility struct #name;

        const _: () = {
            #inner

            impl #name {
                /// Calls the function itself.
                #[allow(dead_code, clippy::too_many_arguments, reason = "for tests and other functions")]
                #visibility #asyncness fn call(#inputs) #output {
                    #inner_name(#(#forwarded),*)#awaited
                }
            }

            #[derive(::fastmcp::__private::serde::Deserialize, ::fastmcp::__private::schemars::JsonSchema)]
            #[serde(crate = "::fastmcp::__private::serde", deny_unknown_fields)]
            #[schemars(crate = "::fastmcp::__private::schemars")]
            struct Args { #(#fields),* }

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
    }
}
