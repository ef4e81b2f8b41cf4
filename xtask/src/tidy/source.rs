//! One source file: what its production code names, how long it is, whether it says what it is.

mod names;

use crate::tidy::{
    Finding,
    source::names::{Named, Names, Word},
    table::{ERA_NAMESAKES, ERA_PLACES, ERA_WORDS, FORBIDDEN, Forbidden, MAX_LINES},
    tree::File,
};

/// A parsed file and what its production code names.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    file: &'a File,
    module: Vec<String>,
    documented: bool,
    names: Names,
}

impl<'a> Source<'a> {
    /// Parses a file below `crates/*/src`.
    ///
    /// # Errors
    ///
    /// When it is not Rust.
    pub(crate) fn parse(file: &'a File) -> syn::Result<Self> {
        let parsed = syn::parse_file(&file.text)?;
        let module = module_of(file.source_path().map_or("", |(_, source)| source));
        let documented = parsed.attrs.iter().any(|attribute| {
            matches!(attribute.style, syn::AttrStyle::Inner(_)) && attribute.path().is_ident("doc")
        });
        let names = Names::collect(&parsed, module.clone());
        Ok(Self {
            file,
            module,
            documented,
            names,
        })
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &str {
        &self.file.path
    }

    /// The folder of its crate, for example `crates/gateway`.
    pub(crate) fn crate_folder(&self) -> &str {
        self.file.source_path().map_or("", |(folder, _)| folder)
    }

    /// The room that it belongs to: its first module, or `lib` or `main`.
    pub(crate) fn room(&self) -> &str {
        match self.module.first() {
            Some(room) => room,
            None if self.file.path.ends_with("/main.rs") => "main",
            None => "lib",
        }
    }

    /// What its production code names inside its own crate, from the crate's root.
    pub(crate) fn inside(&self) -> impl Iterator<Item = &Named> {
        self.names.paths.iter().filter(|named| named.inside)
    }

    /// Checks everything but the rooms.
    pub(crate) fn check(&self, findings: &mut Vec<Finding>) {
        self.size(findings);
        self.documentation(findings);
        for named in self.names.paths.iter().filter(|named| !named.inside) {
            for rule in FORBIDDEN {
                self.forbidden(rule, named, findings);
            }
        }
        self.eras(findings);
    }

    fn size(&self, findings: &mut Vec<Finding>) {
        let lines = self
            .file
            .text
            .lines()
            .count()
            .saturating_sub(self.names.test_lines);
        if lines > MAX_LINES {
            findings.push(Finding::new(
                self.path(),
                MAX_LINES,
                "file-size",
                format!("has {lines} lines of production code, at most {MAX_LINES}"),
                "give one of its concepts a file of its own",
            ));
        }
    }

    fn documentation(&self, findings: &mut Vec<Finding>) {
        if !self.documented {
            findings.push(Finding::new(
                self.path(),
                1,
                "module-doc",
                "has no `//!`".to_owned(),
                "begin with one sentence: what this module is, and what it must not know",
            ));
        }
    }

    fn forbidden(&self, rule: &Forbidden, named: &Named, findings: &mut Vec<Finding>) {
        let below = |places: &[&str]| places.iter().any(|place| self.path().starts_with(place));
        if !below(rule.within) || below(rule.except) {
            return;
        }
        let wanted: Vec<_> = rule.path.split("::").collect();
        let same = named
            .segments
            .iter()
            .zip(&wanted)
            .all(|(have, want)| have == want);
        // `use std::time::*` brings in `std::time::Instant` as well.
        let reaches = named.segments.len() >= wanted.len() || named.glob;
        if same && reaches {
            findings.push(Finding::new(
                self.path(),
                named.line,
                "forbidden-path",
                format!("names `{}`", named.shown()),
                rule.fix,
            ));
        }
    }

    fn eras(&self, findings: &mut Vec<Finding>) {
        if ERA_PLACES
            .iter()
            .any(|place| self.path().starts_with(place))
        {
            return;
        }
        let foreign = |named: &&Named| {
            !named
                .segments
                .first()
                .is_some_and(|root| ERA_NAMESAKES.contains(&root.as_str()))
        };
        let in_paths = self.names.paths.iter().filter(foreign).flat_map(|named| {
            named
                .segments
                .iter()
                .map(|segment| (segment.as_str(), named.line))
        });
        let words = self
            .names
            .words
            .iter()
            .map(|Word { text, line }| (text.as_str(), *line));
        let spoken: Vec<_> = in_paths
            .chain(words)
            .filter(|(identifier, _)| {
                split(identifier).any(|word| ERA_WORDS.contains(&word.as_str()))
            })
            .collect();
        // One finding for a file: whoever moves the decision moves all of it.
        if let Some((identifier, line)) = spoken.iter().min_by_key(|(_, line)| *line) {
            let others = match spoken.len() - 1 {
                0 => String::new(),
                more => format!(", and {more} more"),
            };
            findings.push(Finding::new(
                self.path(),
                *line,
                "era-word",
                format!("`{identifier}` speaks of eras{others}"),
                "let protocol or the session room decide, and name what differs instead of the era",
            ));
        }
    }
}

/// The module that a file is: `confirm/state.rs` is `[confirm, state]`, `lib.rs` is `[]`.
fn module_of(source: &str) -> Vec<String> {
    let stem = source.strip_suffix(".rs").unwrap_or(source);
    let parts: Vec<_> = stem.split('/').map(str::to_owned).collect();
    match parts.as_slice() {
        [only] if only == "lib" || only == "main" => Vec::new(),
        _ => parts,
    }
}

/// The words of an identifier in snake or camel case, in lower case.
fn split(identifier: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut before_lower = false;
    for c in identifier.chars() {
        if c == '_' || (c.is_uppercase() && before_lower) {
            words.push(String::new());
        }
        before_lower = c.is_lowercase() || c.is_numeric();
        if let (true, Some(word)) = (c != '_', words.last_mut()) {
            word.extend(c.to_lowercase());
        }
    }
    words.into_iter()
}

#[cfg(test)]
mod tests {
    use super::{Source, module_of, split};
    use crate::tidy::{Finding, tree::Tree};

    fn found(path: &str, text: &str) -> Vec<(&'static str, usize)> {
        let tree = Tree::of(&[(path, text)]);
        let source = Source::parse(&tree.files()[0]).expect("parses");
        let mut findings: Vec<Finding> = Vec::new();
        source.check(&mut findings);
        findings
            .iter()
            .map(|finding| (finding.rule, finding.line))
            .collect()
    }

    #[test]
    fn forbidden_paths_are_found_however_they_are_named() {
        let protocol = |text: &str| found("crates/protocol/src/a.rs", &format!("//! A.\n{text}\n"));
        let hit = [("forbidden-path", 2)];
        assert_eq!(protocol("use std::{fmt, net::{IpAddr}};"), hit);
        assert_eq!(protocol("use std::time::*;"), [hit[0], hit[0]]);
        assert_eq!(protocol("fn f() -> std::time::Instant { loop {} }"), hit);
        assert_eq!(
            protocol("fn f() { assert!(std::env::args().count() > 0); }"),
            hit
        );
        assert_eq!(protocol("use ::tokio::sync::Mutex as Lock;"), hit);
        assert_eq!(protocol("use std::time::Duration;"), []);
        assert_eq!(
            protocol("/// Not `std::net`.\nconst A: &str = \"std::fs\";"),
            []
        );
    }

    #[test]
    fn tests_may_name_what_they_need() {
        let text = "//! A.\n#[cfg(test)]\nmod tests {\n    use std::fs::File;\n}\n";
        assert_eq!(found("crates/protocol/src/a.rs", text), []);
        let text = "//! A.\n#[cfg(not(test))]\nmod real {\n    use std::fs::File;\n}\n";
        assert_eq!(
            found("crates/protocol/src/a.rs", text),
            [("forbidden-path", 4)]
        );
    }

    #[test]
    fn sql_stands_in_one_room() {
        let text = "//! A.\nuse sqlx::SqlitePool;\n";
        assert_eq!(found("crates/gateway/src/state/sqlite.rs", text), []);
        assert_eq!(
            found("crates/gateway/src/once.rs", text),
            [("forbidden-path", 2)]
        );
        // A module of our own that is called like the crate is no crate.
        assert_eq!(
            found(
                "crates/gateway/src/once.rs",
                "//! A.\nuse crate::sqlx::X;\n"
            ),
            []
        );
    }

    #[test]
    fn eras_stand_where_they_may() {
        let text = "//! A.\nfn reply(era: Era) { legacy_reply() }\nuse hyper_util::client::legacy::Client;\n";
        assert_eq!(
            found("crates/fastmcp/src/server.rs", text),
            [("era-word", 2)]
        );
        assert_eq!(found("crates/fastmcp/src/session/older.rs", text), []);
        assert_eq!(found("crates/protocol/src/version.rs", text), []);
        assert_eq!(
            found(
                "crates/fastmcp/src/server.rs",
                "//! A.\nfn modernise(operator: Operator) {}\n"
            ),
            []
        );
        assert_eq!(
            found(
                "crates/guard/src/a.rs",
                "//! A.\nfn f(c: hyper_util::client::legacy::Client) {}\n"
            ),
            []
        );
    }

    #[test]
    fn long_files_and_silent_modules_are_found() {
        let long = "//! A.\n".to_owned() + &"const A: u8 = 1;\n".repeat(600);
        assert_eq!(found("crates/audit/src/a.rs", &long), [("file-size", 600)]);
        let tested = format!(
            "//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n",
            "const A: u8 = 1;\n".repeat(600)
        );
        assert_eq!(found("crates/audit/src/a.rs", &tested), []);
        assert_eq!(
            found("crates/audit/src/a.rs", "// A.\n"),
            [("module-doc", 1)]
        );
    }

    #[test]
    fn names_fall_into_their_words() {
        let words = |name| split(name).collect::<Vec<_>>();
        assert_eq!(words("LegacyReply2Era"), ["legacy", "reply2", "era"]);
        assert_eq!(words("IS_MODERN"), ["is", "modern"]);
        assert_eq!(words("operator"), ["operator"]);
        assert_eq!(module_of("confirm/state.rs"), ["confirm", "state"]);
        assert_eq!(module_of("lib.rs"), Vec::<String>::new());
    }
}
