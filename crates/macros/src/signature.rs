//! What a function takes and returns.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, Error, Expr, FnArg, Ident, Lit, Meta, Pat, Result, ReturnType, Type,
    ext::IdentExt as _, spanned::Spanned,
};

use crate::{
    argument::{self, Argument},
    build::Kind,
};

/// Types that are handed in and are known by their names.
const INJECTED: &[&str] = &[
    "Context",
    "State",
    "Depends",
    "Caller",
    "AccessToken",
    "HeaderMap",
    "CancellationToken",
    "UserSession",
];

/// A function that becomes a component.
pub(crate) struct Signature {
    /// The function's name.
    pub(crate) name: Ident,
    pub(crate) doc: Option<String>,
    /// Whether it is a method of a value.
    pub(crate) takes_self: bool,
    pub(crate) is_async: bool,
    /// The parameters in order.
    pub(crate) params: Vec<Param>,
    /// What the function returns, without `Result`.
    pub(crate) output: Type,
    /// Whether it returns a `Result`.
    pub(crate) fallible: bool,
}

pub(crate) enum Param {
    /// Made from the context.
    Injected(Ident, Box<Type>),
    /// Sent by the client.
    Field(Box<Field>),
}

pub(crate) struct Field {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) attributes: Vec<Attribute>,
    /// Functions that stand beside the arguments, for their defaults.
    pub(crate) functions: TokenStream,
    pub(crate) argument: Argument,
}

impl Signature {
    /// Reads a function, and takes from it the attributes of its parameters.
    pub(crate) fn take(
        attributes: &[Attribute],
        signature: &mut syn::Signature,
        attribute: &str,
        in_impl: bool,
    ) -> Result<Self> {
        if let Some(generic) = signature.generics.params.first() {
            return Err(Error::new_spanned(
                generic,
                format!("#[{attribute}] cannot describe a generic function; name the types"),
            ));
        }
        let mut takes_self = false;
        let mut params = Vec::new();
        for (index, input) in signature.inputs.iter_mut().enumerate() {
            match input {
                FnArg::Receiver(receiver) => {
                    check_receiver(receiver, attribute, in_impl)?;
                    takes_self = true;
                }
                FnArg::Typed(typed) => params.push(param(typed, attribute, index)?),
            }
        }
        let (output, fallible) = output(&signature.output);
        Ok(Self {
            name: signature.ident.clone(),
            doc: doc(attributes),
            takes_self,
            is_async: signature.asyncness.is_some(),
            params,
            output,
            fallible,
        })
    }

    /// The name that clients know it by, unless another is said.
    pub(crate) fn shown_name(&self) -> String {
        self.name.unraw().to_string()
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = &Field> {
        self.params.iter().filter_map(|p| match p {
            Param::Field(field) => Some(&**field),
            Param::Injected(..) => None,
        })
    }

    pub(crate) fn injected(&self) -> impl Iterator<Item = (&Ident, &Type)> {
        self.params.iter().filter_map(|p| match p {
            Param::Injected(name, ty) => Some((name, &**ty)),
            Param::Field(_) => None,
        })
    }

    /// The struct of the arguments, and what stands beside it.
    pub(crate) fn arguments(&self) -> TokenStream {
        let fields = self.fields().map(|f| {
            let (attributes, name, ty) = (&f.attributes, &f.name, &f.ty);
            quote!(#(#attributes)* #name: #ty)
        });
        let functions = self.fields().map(|f| &f.functions);
        let known = self.fields().map(|f| {
            let ty = &f.ty;
            quote_spanned!(ty.span()=> ::fastmcp::__private::argument::<#ty>();)
        });
        quote! {
            #[derive(::fastmcp::__private::serde::Deserialize, ::fastmcp::__private::schemars::JsonSchema)]
            #[serde(crate = "::fastmcp::__private::serde", deny_unknown_fields)]
            #[schemars(crate = "::fastmcp::__private::schemars")]
            struct __Arguments { #(#fields),* }
            #(#functions)*
            #(#known)*
        }
    }

    /// Checks the arguments and makes what is handed in beside them.
    pub(crate) fn prepare(&self) -> TokenStream {
        let checks = self.fields().map(|f| {
            let (name, ty, check) = (&f.name, &f.ty, &f.argument.check);
            let shown = name.unraw().to_string();
            let value = if is_named(ty, "Option") {
                quote!(if let ::core::option::Option::Some(__value) = &__args.#name)
            } else {
                quote!(let __value = &__args.#name;)
            };
            let checks = check.iter().map(|function| {
                let checked = quote!(::fastmcp::__private::checked(#shown, #function(__value))?;);
                if is_named(ty, "Option") {
                    quote!(#value { #checked })
                } else {
                    quote!({ #value #checked })
                }
            });
            quote! {
                (&&::fastmcp::__private::Check::<#ty>::NEW).check(#shown, &mut __args.#name)?;
                #(#checks)*
            }
        });
        let injected = self.inject();
        let mutable = self.fields().next().map(|_| {
            quote! {
                use ::fastmcp::__private::{CheckNothing as _, CheckValidate as _};
                let mut __args = __args;
            }
        });
        quote! {
            #mutable
            #(#checks)*
            #injected
        }
    }

    /// Makes what is handed in.
    pub(crate) fn inject(&self) -> TokenStream {
        let injected = self.injected().map(|(name, ty)| {
            let from = quote_spanned!(ty.span()=> <#ty as ::fastmcp::FromContext>::from_context);
            quote!(let #name = #from(&__context).await?;)
        });
        quote!(#(#injected)*)
    }

    /// The values of the server that are needed, named to the builder.
    pub(crate) fn needs(&self) -> Option<TokenStream> {
        let needs: Vec<_> = self
            .injected()
            .filter(|(_, ty)| !is_named(ty, "Context"))
            .map(|(_, ty)| {
                quote_spanned!(ty.span()=> <#ty as ::fastmcp::FromContext>::needs(__needs);)
            })
            .collect();
        (!needs.is_empty())
            .then(|| quote!(let __builder = __builder.needs(|__needs| { #(#needs)* });))
    }

    /// What the function is handed.
    pub(crate) fn handed(&self) -> impl Iterator<Item = TokenStream> {
        self.params.iter().map(|p| match p {
            Param::Injected(name, _) => quote!(#name),
            Param::Field(field) => {
                let name = &field.name;
                quote!(__args.#name)
            }
        })
    }
}

/// A method of a value that many calls share.
fn check_receiver(receiver: &syn::Receiver, attribute: &str, in_impl: bool) -> Result<()> {
    if !in_impl {
        return Err(Error::new(
            receiver.span(),
            format!(
                "#[{attribute}] goes on a function without `self`; put `#[tools]` on the `impl` block of a method"
            ),
        ));
    }
    let shared = match &*receiver.ty {
        Type::Reference(reference) => reference.mutability.is_none(),
        ty => is_named(ty, "Arc"),
    };
    if shared {
        return Ok(());
    }
    Err(Error::new(
        receiver.span(),
        "calls run at the same time and share the value: write `&self` or `self: Arc<Self>`, and keep what changes in a `Mutex` or an atomic",
    ))
}

fn param(typed: &mut syn::PatType, attribute: &str, index: usize) -> Result<Param> {
    let mut said = Argument::default();
    let (mut is_arg, mut is_injected) = (false, false);
    let mut kept = Vec::new();
    for found in std::mem::take(&mut typed.attrs) {
        if found.path().is_ident("arg") {
            is_arg = true;
            said.read(&found)?;
        } else if found.path().is_ident("inject") {
            is_injected = true;
        } else {
            kept.push(found);
        }
    }
    let completes = attribute == Kind::Completion.attribute();
    if is_arg && completes {
        return Err(Error::new_spanned(
            &typed.pat,
            "#[arg] goes on arguments of components; a completion takes what was typed, and what is settled for other arguments by their names",
        ));
    }
    if is_arg && is_injected {
        return Err(Error::new_spanned(
            &typed.pat,
            "a parameter is handed in (`#[inject]`) or sent by clients (`#[arg]`), not both",
        ));
    }
    if is_injected || (!is_arg && is_handed_in(&typed.ty)) {
        if let Some(wrong) = kept.iter().find(|a| !a.path().is_ident("doc")) {
            return Err(argument::refuse_on_injected(wrong));
        }
        let name = format_ident!("__injected_{index}");
        return Ok(Param::Injected(name, typed.ty.clone()));
    }
    let Pat::Ident(pattern) = &*typed.pat else {
        return Err(Error::new_spanned(
            &typed.pat,
            format!("#[{attribute}] needs a name for each argument"),
        ));
    };
    if let Type::Reference(reference) = &*typed.ty
        && !completes
    {
        return Err(Error::new_spanned(
            reference,
            "arguments are owned: write `String` for `&str`, `Vec<T>` for `&[T]`",
        ));
    }
    let (mut attributes, functions) = said.attributes(&pattern.ident.unraw(), &typed.ty);
    attributes.extend(kept);
    Ok(Param::Field(Box::new(Field {
        name: pattern.ident.clone(),
        ty: (*typed.ty).clone(),
        attributes,
        functions,
        argument: said,
    })))
}

/// Whether a type is handed in by its name, `Option<AccessToken>` included.
fn is_handed_in(ty: &Type) -> bool {
    let known = |ty: &Type| INJECTED.iter().any(|name| is_named(ty, name));
    known(ty)
        || (is_named(ty, "Option") && inside(ty).is_some_and(|ty| is_named(&ty, "AccessToken")))
}

fn output(output: &ReturnType) -> (Type, bool) {
    let ty = match output {
        ReturnType::Default => syn::parse_quote!(()),
        ReturnType::Type(_, ty) => (**ty).clone(),
    };
    match is_named(&ty, "Result").then(|| inside(&ty)).flatten() {
        Some(inner) => (inner, true),
        None => (ty, false),
    }
}

/// The first type in angle brackets.
pub(crate) fn inside(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let syn::PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments
    else {
        return None;
    };
    arguments.args.iter().find_map(|a| match a {
        syn::GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    })
}

pub(crate) fn is_named(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|s| s.ident == name))
}

/// The doc comment as one text: lines joined, paragraphs kept.
fn doc(attributes: &[Attribute]) -> Option<String> {
    let lines: Vec<String> = attributes.iter().filter_map(doc_line).collect();
    let text = lines
        .iter()
        .map(|l| l.strip_prefix(' ').unwrap_or(l).trim_end())
        .collect::<Vec<_>>()
        .join("\n");
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn doc_line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else {
        return None;
    };
    let Expr::Lit(literal) = &pair.value else {
        return None;
    };
    match &literal.lit {
        Lit::Str(text) if pair.path.is_ident("doc") => Some(text.value()),
        _ => None,
    }
}
