//! The expression that makes the builder of a component.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Result};

use crate::{
    completion,
    options::{Allowed, Options},
    signature::Signature,
};

/// The kinds of components that a function can be.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Tool,
    Resource,
    Prompt,
    /// No component itself: it completes an argument of one.
    Completion,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Tool, Self::Resource, Self::Prompt, Self::Completion];

    /// The attribute, which is also the method that adds one.
    pub(crate) const fn attribute(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Prompt => "prompt",
            Self::Completion => "completion",
        }
    }

    const fn allowed(self) -> &'static Allowed {
        match self {
            Self::Tool => &TOOL,
            Self::Resource => &RESOURCE,
            Self::Prompt => &PROMPT,
            Self::Completion => &completion::ALLOWED,
        }
    }
}

const TOOL: Allowed = Allowed {
    attribute: "tool",
    example: "name",
    texts: &[
        "name",
        "title",
        "description",
        "version",
        "deprecated",
        "feature",
        "timeout",
    ],
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
    lists: &["tags", "scopes", "icons"],
};
const RESOURCE: Allowed = Allowed {
    attribute: "resource",
    example: "name",
    texts: &[
        "name",
        "title",
        "description",
        "mime_type",
        "version",
        "deprecated",
        "feature",
    ],
    flags: &["inline"],
    lists: &["tags", "scopes", "icons", "unscreened"],
};
const PROMPT: Allowed = Allowed {
    attribute: "prompt",
    example: "name",
    texts: &[
        "name",
        "title",
        "description",
        "version",
        "deprecated",
        "feature",
    ],
    flags: &["inline"],
    lists: &["tags", "scopes", "icons"],
};

/// How the function is reached from the handler.
pub(crate) struct Callee {
    /// What stands before the arguments.
    pub(crate) path: TokenStream,
    /// Whether the value of the method is there as `__this`.
    pub(crate) takes_self: bool,
}

/// The expression that makes the builder.
pub(crate) fn builder(
    kind: Kind,
    options: TokenStream,
    signature: &Signature,
    callee: &Callee,
) -> Result<TokenStream> {
    let options = Options::parse(options, kind.allowed())?;
    if matches!(kind, Kind::Completion) {
        return completion::builder(&options, signature, callee);
    }
    let arguments = signature.arguments();
    let made = match kind {
        Kind::Tool => tool(&options, signature, callee),
        Kind::Resource => resource(&options, signature, callee)?,
        Kind::Prompt | Kind::Completion => prompt(&options, signature, callee),
    };
    let completions = completions(kind, signature)?;
    let calls = options.calls(signature.doc.as_deref());
    let needs = signature.needs();
    Ok(quote! {{
        #arguments
        #made
        #calls
        #needs
        #completions
        __builder
    }})
}

/// What completes arguments.
fn completions(kind: Kind, signature: &Signature) -> Result<TokenStream> {
    let mut made = TokenStream::new();
    for field in signature.fields() {
        let Some(complete) = &field.argument.complete else {
            continue;
        };
        if matches!(kind, Kind::Tool) {
            return Err(Error::new_spanned(
                complete,
                "MCP completes arguments of prompts and of resource templates, not of tools",
            ));
        }
        let argument = field.argument.shown(&field.name);
        made.extend(quote!(let __builder = __builder.completion(#argument, #complete);));
    }
    Ok(made)
}

fn name(options: &Options, signature: &Signature) -> String {
    let said = options.name.as_ref().map(syn::LitStr::value);
    said.unwrap_or_else(|| signature.shown_name())
}

fn tool(options: &Options, signature: &Signature, callee: &Callee) -> TokenStream {
    let name = name(options, signature);
    let output = &signature.output;
    let handler = handler(
        signature,
        options,
        callee,
        &quote!((&&::fastmcp::__private::Emit::<#output>::NEW).emit(__value)),
    );
    let hints: Vec<_> = [
        ("read_only", quote!(read_only_hint)),
        ("destructive", quote!(destructive_hint)),
        ("idempotent", quote!(idempotent_hint)),
        ("open_world", quote!(open_world_hint)),
    ]
    .into_iter()
    .filter_map(|(flag, field)| {
        let said = options.said(flag)?;
        Some(quote!(__annotations.#field = ::core::option::Option::Some(#said);))
    })
    .collect();
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
    quote! {
        use ::fastmcp::__private::{EmitJson as _, EmitOutput as _};
        let __builder = ::fastmcp::ToolBuilder::from_parts(
            #name,
            (&&::fastmcp::__private::Emit::<#output>::NEW).schema(),
            #handler,
        );
        #annotations
        #support
        #begins
    }
}

fn resource(options: &Options, signature: &Signature, callee: &Callee) -> Result<TokenStream> {
    let uri = options.required_uri()?;
    let name = name(options, signature);
    let output = &signature.output;
    let handler = handler(
        signature,
        options,
        callee,
        &quote!(::fastmcp::Result::<#output>::Ok(__value)),
    );
    let mime_type = options
        .mime_type
        .as_ref()
        .map(|m| quote!(let __builder = __builder.mime_type(#m);));
    Ok(quote! {
        let __builder = ::fastmcp::ResourceBuilder::new(#uri, #name, #handler);
        #mime_type
    })
}

fn prompt(options: &Options, signature: &Signature, callee: &Callee) -> TokenStream {
    let name = name(options, signature);
    let output = &signature.output;
    let handler = handler(
        signature,
        options,
        callee,
        &quote!(::fastmcp::Result::<#output>::Ok(__value)),
    );
    quote!(let __builder = ::fastmcp::PromptBuilder::new(#name, #handler);)
}

/// Runs the function, and takes its value out of a `Result`, as `__value`.
pub(crate) fn run(
    signature: &Signature,
    options: &Options,
    callee: &Callee,
    handed: &[TokenStream],
) -> TokenStream {
    let path = &callee.path;
    let call = quote!(#path(#(#handed),*));
    let run = if signature.is_async {
        quote!(#call.await)
    } else if options.has("inline") {
        call
    } else {
        quote!(::fastmcp::__private::blocking(&__context, move || #call).await?)
    };
    let value = if signature.fallible {
        quote!(match #run {
            ::core::result::Result::Ok(value) => value,
            ::core::result::Result::Err(error) => return ::core::result::Result::Err(::fastmcp::Error::from(error)),
        })
    } else {
        run
    };
    let output = &signature.output;
    quote!(let __value: #output = #value;)
}

/// The closure that runs the function and ends with `emitted`.
fn handler(
    signature: &Signature,
    options: &Options,
    callee: &Callee,
    emitted: &TokenStream,
) -> TokenStream {
    let handed: Vec<_> = signature.handed().collect();
    let (run, prepare) = (
        run(signature, options, callee, &handed),
        signature.prepare(),
    );
    let this = callee
        .takes_self
        .then(|| quote!(let __this = ::std::sync::Arc::clone(&__this);));
    quote! {
        move |__args: __Arguments, __context: ::fastmcp::Context| {
            #this
            async move {
                #prepare
                #run
                #emitted
            }
        }
    }
}
