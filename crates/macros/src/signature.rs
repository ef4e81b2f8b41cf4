//! What a function takes and returns.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    Attribute, Error, Expr, FnArg, Ident, ItemFn, Lit, Meta, Pat, Result, ReturnType, Type,
    spanned::Spanned,
};

/// A function that becomes a component.
pub(crate) struct Signature {
    /// The function itself, renamed and without the attributes of its arguments.
    pub(crate) function: ItemFn,
    pub(crate) name: Ident,
    pub(crate) doc: Option<String>,
    /// The arguments in order, each a field or the context.
    pub(crate) params: Vec<Param>,
    /// What the function returns, without `Result`.
    pub(crate) output: Type,
    /// Whether it returns a `Result`.
    pub(crate) fallible: bool,
}

pub(crate) enum Param {
    Context,
    Field(Box<Field>),
}

pub(crate) struct Field {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) attributes: Vec<Attribute>,
}

impl Signature {
    pub(crate) fn parse(tokens: TokenStream, attribute: &str) -> Result<Self> {
        let mut function: ItemFn = syn::parse2(tokens)?;
        let name = function.sig.ident.clone();
        if let Some(generic) = function.sig.generics.params.first() {
            return Err(Error::new_spanned(
                generic,
                format!("#[{attribute}] cannot describe a generic function; name the types"),
            ));
        }
        let params = function
            .sig
            .inputs
            .iter_mut()
            .map(|input| param(input, attribute))
            .collect::<Result<Vec<_>>>()?;
        let (output, fallible) = output(&function.sig.output);
        Ok(Self {
            doc: doc(&function.attrs),
            function,
            name,
            params,
            output,
            fallible,
        })
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = &Field> {
        self.params.iter().filter_map(|p| match p {
            Param::Field(field) => Some(&**field),
            Param::Context => None,
        })
    }
}

fn param(input: &mut FnArg, attribute: &str) -> Result<Param> {
    let FnArg::Typed(typed) = input else {
        return Err(Error::new(
            input.span(),
            format!("#[{attribute}] goes on a function without `self`"),
        ));
    };
    let attributes = std::mem::take(&mut typed.attrs);
    if is_named(&typed.ty, "Context") {
        return Ok(Param::Context);
    }
    let Pat::Ident(pattern) = &*typed.pat else {
        return Err(Error::new_spanned(
            &typed.pat,
            format!("#[{attribute}] needs a name for each argument"),
        ));
    };
    if let Type::Reference(reference) = &*typed.ty {
        return Err(Error::new_spanned(
            reference,
            "arguments are owned: write `String` for `&str`, `Vec<T>` for `&[T]`",
        ));
    }
    Ok(Param::Field(Box::new(Field {
        name: pattern.ident.clone(),
        ty: (*typed.ty).clone(),
        attributes,
    })))
}

fn output(output: &ReturnType) -> (Type, bool) {
    let ty = match output {
        ReturnType::Default => syn::parse_quote!(()),
        ReturnType::Type(_, ty) => (**ty).clone(),
    };
    match inside_result(&ty) {
        Some(inner) => (inner, true),
        None => (ty, false),
    }
}

fn inside_result(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|s| s.ident == "Result")?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|a| match a {
        syn::GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    })
}

fn is_named(ty: &Type, name: &str) -> bool {
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

/// The call of the function with what was decoded.
pub(crate) fn call(signature: &Signature) -> TokenStream {
    let inner = &signature.function.sig.ident;
    let handed = signature.params.iter().map(|p| match p {
        Param::Context => quote!(::core::clone::Clone::clone(&__context)),
        Param::Field(field) => {
            let name = &field.name;
            quote!(__args.#name)
        }
    });
    quote!(#inner(#(#handed),*))
}
