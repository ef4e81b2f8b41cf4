//! Everything that the production code of one file names, with the line.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::{Attribute, Item, UseTree, spanned::Spanned, visit::Visit};

/// A path that the code names.
#[derive(Debug)]
pub(crate) struct Named {
    /// Its segments; from the crate's root when it lies inside the crate.
    pub(crate) segments: Vec<String>,
    /// Whether it began with `crate`, `self` or `super`.
    pub(crate) inside: bool,
    /// Whether it ends in `*`.
    pub(crate) glob: bool,
    /// Where it stands, from 1.
    pub(crate) line: usize,
}

impl Named {
    /// The path as the code would spell it from anywhere.
    pub(crate) fn shown(&self) -> String {
        let begin = self.inside.then_some("crate");
        let end = self.glob.then_some("*");
        let segments = self.segments.iter().map(String::as_str);
        begin
            .into_iter()
            .chain(segments)
            .chain(end)
            .collect::<Vec<_>>()
            .join("::")
    }
}

/// An identifier outside of paths.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// What the production code of one file names.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) paths: Vec<Named>,
    pub(crate) words: Vec<Word>,
    /// How many lines belong to items that only tests compile.
    pub(crate) test_lines: usize,
    module: Vec<String>,
}

impl Names {
    /// Reads the file that is the module `module`.
    pub(crate) fn collect(file: &syn::File, module: Vec<String>) -> Self {
        let mut names = Self {
            paths: Vec::new(),
            words: Vec::new(),
            test_lines: 0,
            module,
        };
        names.visit_file(file);
        names
    }

    fn path(&mut self, segments: &[String], glob: bool, span: Span) {
        let line = span.start().line;
        let (segments, inside) = match self.resolve(segments) {
            Some(resolved) => (resolved, true),
            None => (segments.to_vec(), false),
        };
        self.paths.push(Named {
            segments,
            inside,
            glob,
            line,
        });
    }

    /// A path inside the crate, from the crate's root.
    fn resolve(&self, segments: &[String]) -> Option<Vec<String>> {
        let (first, rest) = segments.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" | "super" => {
                let ups = segments
                    .iter()
                    .filter(|segment| *segment == "super")
                    .count();
                let from = self.module.len().saturating_sub(ups);
                let below = segments
                    .iter()
                    .skip_while(|segment| *segment == "self" || *segment == "super");
                Some(
                    self.module
                        .iter()
                        .take(from)
                        .chain(below)
                        .cloned()
                        .collect(),
                )
            }
            _ => None,
        }
    }

    fn tree(&mut self, prefix: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.tree(prefix, &path.tree);
                prefix.pop();
            }
            UseTree::Name(name) => self.leaf(prefix, &name.ident),
            UseTree::Rename(name) => {
                self.leaf(prefix, &name.ident);
                self.visit_ident(&name.rename);
            }
            UseTree::Glob(glob) => self.path(prefix, true, glob.span()),
            UseTree::Group(group) => {
                for inner in &group.items {
                    self.tree(prefix, inner);
                }
            }
        }
    }

    fn leaf(&mut self, prefix: &[String], ident: &Ident) {
        let mut segments = prefix.to_vec();
        // `use a::{self}` names `a`.
        if ident != "self" || prefix.is_empty() {
            segments.push(ident.to_string());
        }
        self.path(&segments, false, ident.span());
    }

    /// Paths and identifiers inside a macro, whose grammar only the macro knows.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut open: Vec<String> = Vec::new();
        let mut begun = Span::call_site();
        let mut colons = 0_u8;
        let mut dollar = false;
        let mut hidden = false;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.close(&mut open, hidden, begun);
                        hidden = dollar;
                    }
                    dollar = false;
                    if open.is_empty() {
                        begun = ident.span();
                    }
                    open.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons = colons.saturating_add(1)
                }
                other => {
                    self.close(&mut open, hidden, begun);
                    colons = 0;
                    // `$crate` in a macro of ours stands in the code of whoever calls it.
                    hidden = false;
                    dollar = matches!(&other, TokenTree::Punct(punct) if punct.as_char() == '$');
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.close(&mut open, hidden, begun);
    }

    fn close(&mut self, open: &mut Vec<String>, hidden: bool, begun: Span) {
        match open.as_slice() {
            [] => {}
            [word] => self.words.push(Word {
                text: word.clone(),
                line: begun.start().line,
            }),
            _ if hidden => {}
            segments => self.path(segments, false, begun),
        }
        open.clear();
    }

    /// Whether only tests compile what has these attributes; counts its lines if so.
    fn only_tests(&mut self, attributes: &[Attribute], span: Span) -> bool {
        let test = attributes.iter().any(is_cfg_test);
        if test {
            self.test_lines += span.end().line.saturating_sub(span.start().line) + 1;
        }
        test
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast Item) {
        if !self.only_tests(attributes(item), item.span()) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !self.only_tests(&item.attrs, item.span()) {
            syn::visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.visit_ident(&item.ident);
        let Some((_, items)) = &item.content else {
            return;
        };
        self.module.push(item.ident.to_string());
        for inner in items {
            self.visit_item(inner);
        }
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&mut Vec::new(), &item.tree);
    }

    // `pub(crate)` and `pub(in crate::room)` grant, they do not import.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.path(&segments, false, path.span());
        for segment in &path.segments {
            self.visit_path_arguments(&segment.arguments);
        }
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.visit_path(&item.path);
        self.tokens(item.tokens.clone());
    }

    fn visit_ident(&mut self, ident: &'ast Ident) {
        self.words.push(Word {
            text: ident.to_string(),
            line: ident.span().start().line,
        });
    }
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    fn idents(tokens: TokenStream, found: &mut Vec<String>) {
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => found.push(ident.to_string()),
                TokenTree::Group(group) => idents(group.stream(), found),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
    let Ok(list) = attribute.meta.require_list() else {
        return false;
    };
    let mut found = Vec::new();
    idents(list.tokens.clone(), &mut found);
    list.path.is_ident("cfg")
        && found.iter().any(|one| one == "test")
        && found.iter().all(|one| one != "not")
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    fn inside(module: &[&str], code: &str) -> Vec<String> {
        let file = syn::parse_file(code).expect("parses");
        let module = module.iter().map(|part| (*part).to_owned()).collect();
        Names::collect(&file, module)
            .paths
            .iter()
            .filter(|one| one.inside)
            .map(super::Named::shown)
            .collect()
    }

    #[test]
    fn every_spelling_of_a_path_inside_the_crate_is_resolved() {
        assert_eq!(
            inside(&["a"], "use crate::{b::{self, C}, d};"),
            ["crate::b", "crate::b::C", "crate::d"]
        );
        assert_eq!(
            inside(&["a", "x"], "use super::super::b::C;"),
            ["crate::b::C"]
        );
        assert_eq!(inside(&["a"], "use super::b::*;"), ["crate::b::*"]);
        assert_eq!(
            inside(&["a"], "mod x { fn f() { self::g(super::h()) } }"),
            ["crate::a::x::g", "crate::a::h"]
        );
        assert_eq!(
            inside(&["a"], "fn f() { log!(\"{}\", crate::b::C { d: 1 }) }"),
            ["crate::b::C"]
        );
        assert_eq!(
            inside(&["a"], "macro_rules! m { () => { $crate::b::C } }"),
            Vec::<String>::new()
        );
        assert_eq!(
            inside(&["a"], "pub(in crate::b) struct S; pub(crate) struct T;"),
            Vec::<String>::new()
        );
    }
}
