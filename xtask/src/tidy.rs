//! What the compiler and clippy cannot check: arrows between crates and rooms, words that belong
//! to one place, the size of files, and what must not be committed.
//!
//! [`table`] is the data; the rest only reads it.

mod example;
mod manifest;
mod name;
mod room;
mod source;
mod table;
mod text;
mod tree;

use std::fmt;

use anyhow::bail;

use crate::{
    house::{House, say},
    tidy::{source::Source, tree::Tree},
};

/// One broken rule, with its place and its remedy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    message: String,
    fix: String,
}

impl Finding {
    fn new(path: &str, line: usize, rule: &'static str, message: String, fix: &str) -> Self {
        Self {
            path: path.to_owned(),
            line: line.max(1),
            rule,
            message,
            fix: fix.to_owned(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            rule,
            message,
            fix,
        } = self;
        write!(f, "{path}:{line}: [{rule}] {message}; fix: {fix}")
    }
}

/// Checks the checkout and prints every finding.
///
/// # Errors
///
/// When the tree cannot be listed, or when a rule is broken.
pub(crate) fn run(house: &House) -> anyhow::Result<()> {
    let tree = Tree::read(house.root())?;
    let findings = check(&tree);
    for finding in &findings {
        say(&finding.to_string());
    }
    if !findings.is_empty() {
        bail!(
            "tidy: {} findings in {} files",
            findings.len(),
            tree.files().len()
        );
    }
    say(&format!("tidy: {} files are in order", tree.files().len()));
    Ok(())
}

/// Every finding, in the order of paths and lines.
fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    manifest::check(tree, &mut findings);
    example::check(tree, &mut findings);
    for file in tree.files() {
        text::check(file, &mut findings);
        name::check(file, &mut findings);
        if !file.is_production() {
            continue;
        }
        match Source::parse(file) {
            Ok(source) => {
                source.check(&mut findings);
                room::check(&source, &mut findings);
            }
            Err(error) => findings.push(Finding::new(
                &file.path,
                error.span().start().line,
                "syntax",
                format!("does not parse: {error}"),
                "make it compile",
            )),
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

#[cfg(test)]
mod tests {
    use super::{check, tree::Tree};

    #[test]
    fn a_finding_names_file_line_rule_and_fix() {
        let tree = Tree::of(&[(
            "crates/policy/src/lib.rs",
            "//! Policy.\nuse std::fs::File;\n",
        )]);
        let lines: Vec<_> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "crates/policy/src/lib.rs:2: [forbidden-path] names `std::fs::File`; fix: \
                 policy does no I/O: take bytes or text as an argument"
            ]
        );
    }

    #[test]
    fn what_does_not_parse_is_a_finding() {
        let tree = Tree::of(&[("crates/policy/src/lib.rs", "//! Policy.\nfn (\n")]);
        let findings = check(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].rule, findings[0].line), ("syntax", 2));
    }
}
