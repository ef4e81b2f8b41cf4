//! From the methods of a value to its components.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Error, ImplItem, ImplItemFn, ItemImpl, Meta, Result};

use crate::{
    build::{self, Callee, Kind},
    signature::Signature,
};

/// The `impl` block without the attributes of its methods, and the trait that makes their components.
pub(crate) fn tools(options: &TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !options.is_empty() {
        return Err(Error::new_spanned(
            options,
            "#[tools] has no options; those of a tool stand at its method: #[tool(...)]",
        ));
    }
    let mut block: ItemImpl = syn::parse2(item)?;
    if let Some((_, path, _)) = &block.trait_ {
        return Err(Error::new_spanned(
            path,
            "#[tools] goes on the `impl` block of a type, not of a trait",
        ));
    }
    let mut added = Vec::new();
    for item in &mut block.items {
        if let ImplItem::Fn(method) = item
            && let Some((kind, options)) = taken(&mut method.attrs)?
        {
            added.push(component(kind, options, method)?);
        }
    }
    if added.is_empty() {
        return Err(Error::new_spanned(
            &block.self_ty,
            "no method here is a component; put #[tool], #[resource(\"...\")], #[prompt] or #[completion(...)] on some",
        ));
    }
    let (ty, (generics, _, bounds)) = (&block.self_ty, block.generics.split_for_impl());
    Ok(quote! {
        #block

        impl #generics ::fastmcp::Tools for #ty #bounds {
            #[allow(unused_imports, unused_variables, clippy::unused_unit, clippy::let_unit_value, clippy::too_many_lines, clippy::useless_conversion, reason = "what is made is general")]
            fn bundle(self: ::std::sync::Arc<Self>) -> ::fastmcp::Bundle {
                let __bundle = ::fastmcp::Bundle::new();
                #(#added)*
                __bundle
            }
        }
    })
}

/// The attribute that makes a method a component, taken from the others.
fn taken(attributes: &mut Vec<Attribute>) -> Result<Option<(Kind, TokenStream)>> {
    let mut found = None;
    let mut kept = Vec::with_capacity(attributes.len());
    for attribute in attributes.drain(..) {
        let named = attribute.path().segments.last().map(|s| s.ident.clone());
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| named.as_ref().is_some_and(|n| n == kind.attribute()));
        match (kind, &attribute.meta) {
            (None, _) => kept.push(attribute),
            (Some(_), _) if found.is_some() => {
                return Err(Error::new_spanned(
                    attribute,
                    "a method is one component; let another method call it",
                ));
            }
            (Some(kind), Meta::List(list)) => found = Some((kind, list.tokens.clone())),
            (Some(kind), _) => found = Some((kind, TokenStream::new())),
        }
    }
    *attributes = kept;
    Ok(found)
}

fn component(kind: Kind, options: TokenStream, method: &mut ImplItemFn) -> Result<TokenStream> {
    let signature = Signature::take(&method.attrs, &mut method.sig, kind.attribute(), true)?;
    method.attrs.push(syn::parse_quote! {
        #[allow(clippy::unused_async, clippy::needless_pass_by_value, clippy::too_many_arguments, reason = "arguments are owned, and `async` says where the method runs")]
    });
    let (name, adds) = (&signature.name, format_ident!("{}", kind.attribute()));
    let callee = Callee {
        path: if signature.takes_self {
            quote!(__this.#name)
        } else {
            quote!(Self::#name)
        },
        takes_self: signature.takes_self,
    };
    let made = build::builder(kind, options, &signature, &callee)?;
    let this = signature
        .takes_self
        .then(|| quote!(let __this = ::std::sync::Arc::clone(&self);));
    Ok(quote! {
        let __bundle = {
            #this
            let __builder = #made;
            __bundle.#adds(__builder)
        };
    })
}
