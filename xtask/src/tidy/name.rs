//! The names of files.

use crate::tidy::{Finding, table::EMPTY_NAMES, tree::File};

pub(crate) fn check(file: &File, findings: &mut Vec<Finding>) {
    let Some(stem) = file
        .path
        .rsplit('/')
        .next()
        .and_then(|name| name.strip_suffix(".rs"))
    else {
        return;
    };
    let mut found =
        |rule, message, fix| findings.push(Finding::new(&file.path, 1, rule, message, fix));
    if stem == "mod" {
        found(
            "no-mod-rs",
            "is a `mod.rs`".to_owned(),
            "name it after its folder and move it beside that",
        );
    }
    if EMPTY_NAMES.contains(&stem) {
        found(
            "empty-name",
            format!("`{stem}` says nothing about what is inside"),
            "name it after the one thing it holds, and move the rest to where it belongs",
        );
    }
    let spelled = stem
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if file.source_path().is_some() && !spelled {
        found(
            "file-name",
            format!("`{stem}` is not in snake case"),
            "use a singular noun in snake case",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::tree::Tree;

    #[test]
    fn names_that_say_nothing_are_found() {
        let tree = Tree::of(&[
            ("crates/a/src/limit/mod.rs", ""),
            ("crates/a/src/utils.rs", ""),
            ("crates/a/src/Limit.rs", ""),
            ("crates/a/src/limit.rs", ""),
            ("docs/common.md", ""),
        ]);
        let mut findings = Vec::new();
        tree.files()
            .iter()
            .for_each(|file| check(file, &mut findings));
        let rules: Vec<_> = findings.iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, ["no-mod-rs", "empty-name", "file-name"]);
    }
}
