//! Examples: each says how to run it, and each is built.

use crate::tidy::{Finding, tree::Tree};

/// How many lines from the top the sentence may stand.
const TOP: usize = 6;
const SENTENCE: &str = "//! Run with: `cargo run ";

pub(crate) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in tree.files() {
        let Some((folder, name)) = file.path.rsplit_once('/') else {
            continue;
        };
        let at_top = folder == "examples";
        let in_crate = folder.starts_with("crates/") && folder.ends_with("/examples");
        if !file.is_rust() || !(at_top || in_crate) {
            continue;
        }
        if !file
            .text
            .lines()
            .take(TOP)
            .any(|line| line.starts_with(SENTENCE))
        {
            findings.push(Finding::new(
                &file.path,
                1,
                "example-run-with",
                "does not say how to run it".to_owned(),
                "put a line \"//! Run with: `cargo run -p ...`\" into its head",
            ));
        }
        // Cargo finds the examples of a crate by itself, those at the top only by name.
        let named = format!("\"{name}\"");
        let built = |manifest: &&super::tree::File| {
            manifest.path == "examples/Cargo.toml" && manifest.text.contains(&named)
        };
        if at_top && !tree.files().iter().any(|manifest| built(&manifest)) {
            findings.push(Finding::new(
                &file.path,
                1,
                "example-built",
                "no crate builds it".to_owned(),
                "add a [[bin]] with its path to examples/Cargo.toml",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::tree::Tree;

    #[test]
    fn an_example_says_how_to_run_it_and_is_built() {
        let tree = Tree::of(&[
            ("examples/Cargo.toml", "[[bin]]\npath = \"good.rs\"\n"),
            ("crates/a/examples/silent.rs", "//! An example.\n"),
            (
                "examples/good.rs",
                "//! Good.\n//! Run with: `cargo run --bin good`\n",
            ),
            ("examples/lost.rs", "//! Run with: `cargo run --bin lost`\n"),
        ]);
        let mut findings = Vec::new();
        check(&tree, &mut findings);
        let found: Vec<_> = findings
            .iter()
            .map(|one| (one.path.as_str(), one.rule))
            .collect();
        assert_eq!(
            found,
            [
                ("crates/a/examples/silent.rs", "example-run-with"),
                ("examples/lost.rs", "example-built")
            ]
        );
    }
}
