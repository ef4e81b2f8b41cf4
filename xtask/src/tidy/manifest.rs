//! The manifests: arrows between crates, and the workspace's lints.

use toml::{Table, Value};

use crate::tidy::{
    Finding,
    table::{CRATES, FOR_TESTS, OTHER_WORKSPACES},
    tree::{File, Tree},
};

/// The tables of a manifest that name dependencies, and whether they ship.
const TABLES: &[(&str, bool)] = &[
    ("dependencies", true),
    ("build-dependencies", true),
    ("dev-dependencies", false),
];

pub(crate) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let workspace = tree
        .files()
        .iter()
        .find(|file| file.path == "Cargo.toml")
        .and_then(|file| parse(file, findings));
    let shared = workspace
        .as_ref()
        .and_then(|manifest| manifest.get("workspace")?.get("dependencies")?.as_table())
        .cloned()
        .unwrap_or_default();
    for file in tree.files() {
        let other = OTHER_WORKSPACES
            .iter()
            .any(|folder| file.path.starts_with(folder));
        if file.path.ends_with("/Cargo.toml") && !other {
            member(file, &shared, findings);
        }
    }
}

fn parse(file: &File, findings: &mut Vec<Finding>) -> Option<Table> {
    file.text
        .parse()
        .map_err(|error: toml::de::Error| {
            let line = error
                .span()
                .map_or(1, |span| line_at(&file.text, span.start));
            let message = format!("is not TOML: {}", error.message());
            findings.push(Finding::new(
                &file.path,
                line,
                "syntax",
                message,
                "make it TOML",
            ));
        })
        .ok()
}

fn member(file: &File, shared: &Table, findings: &mut Vec<Finding>) {
    let Some(manifest) = parse(file, findings) else {
        return;
    };
    let name = manifest
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(Value::as_str)
        .unwrap_or("");
    let Some(rules) = CRATES.iter().find(|one| one.name == name) else {
        findings.push(Finding::new(
            &file.path,
            1,
            "crate-table",
            format!("crate `{name}` is not in the table of crates"),
            "add it with its arrows to xtask/src/tidy/table.rs",
        ));
        return;
    };
    if file.path.strip_suffix("/Cargo.toml") != Some(rules.folder) {
        let message = format!("crate `{name}` belongs in `{}`", rules.folder);
        findings.push(Finding::new(
            &file.path,
            1,
            "crate-table",
            message,
            "move it, or change the table",
        ));
    }
    let inherits = |table: &str, key: &str| {
        manifest
            .get(table)
            .and_then(|inner| inner.get(key))
            .and_then(Value::as_bool)
    };
    if inherits("lints", "workspace") != Some(true) {
        findings.push(Finding::new(
            &file.path,
            1,
            "workspace-lints",
            format!("crate `{name}` does not take the workspace's lints"),
            "add `[lints]` with `workspace = true`",
        ));
    }
    for (key, package, ships) in dependencies(&manifest, shared) {
        let line = line_of(&file.text, &key);
        let ours = CRATES.iter().any(|one| one.name == package);
        let tests = !ships && FOR_TESTS.contains(&package.as_str());
        if ours && package != name && !tests && !rules.may.contains(&package.as_str()) {
            findings.push(Finding::new(
                &file.path,
                line,
                "crate-arrow",
                format!("`{name}` depends on `{package}`"),
                "turn the arrow: move what is shared to a crate that both may name",
            ));
        }
        if ships && rules.never.contains(&package.as_str()) {
            findings.push(Finding::new(
                &file.path,
                line,
                "crate-never",
                format!("`{name}` must never depend on `{package}`"),
                "leave that to the crate whose work it is (ARCHITECTURE.md, Invariants)",
            ));
        }
    }
}

/// `(key, package, ships)` of every dependency, those of single platforms too, renamed ones by their true name.
fn dependencies(manifest: &Table, shared: &Table) -> Vec<(String, String, bool)> {
    let mut places: Vec<&Table> = vec![manifest];
    if let Some(targets) = manifest.get("target").and_then(Value::as_table) {
        places.extend(targets.values().filter_map(Value::as_table));
    }
    let mut found = Vec::new();
    for place in places {
        for (table, ships) in TABLES {
            let Some(entries) = place.get(*table).and_then(Value::as_table) else {
                continue;
            };
            for (key, entry) in entries {
                let package = renamed(entry)
                    .or_else(|| renamed(shared.get(key)?))
                    .unwrap_or(key);
                found.push((key.clone(), package.to_owned(), *ships));
            }
        }
    }
    found
}

fn renamed(entry: &Value) -> Option<&str> {
    entry.get("package").and_then(Value::as_str)
}

/// The line that begins with a dependency's key.
fn line_of(text: &str, key: &str) -> usize {
    let begins = |line: &str| {
        line.trim_start().strip_prefix(key).is_some_and(|rest| {
            rest.starts_with(|c: char| c.is_whitespace() || c == '.' || c == '=')
        })
    };
    let header = format!(".{key}]");
    text.lines()
        .position(|line| begins(line) || line.ends_with(&header))
        .map_or(1, |index| index + 1)
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::tree::Tree;

    const LINTS: &str = "[lints]\nworkspace = true\n";

    fn found(name: &str, folder: &str, rest: &str) -> Vec<(&'static str, usize)> {
        let manifest = format!("[package]\nname = \"{name}\"\n{LINTS}{rest}");
        let root = "[workspace.dependencies]\nrt = { package = \"tokio\", version = \"1\" }\n";
        let path = format!("{folder}/Cargo.toml");
        let tree = Tree::of(&[("Cargo.toml", root), (&path, &manifest)]);
        let mut findings = Vec::new();
        check(&tree, &mut findings);
        findings
            .iter()
            .map(|finding| (finding.rule, finding.line))
            .collect()
    }

    #[test]
    fn an_arrow_that_runs_backwards_is_found() {
        let rest = "[dependencies]\nserde = \"1\"\nfastmcp-transport.workspace = true\n";
        assert_eq!(
            found("fastmcp-protocol", "crates/protocol", rest),
            [("crate-arrow", 7)]
        );
        assert_eq!(found("fastmcp", "crates/fastmcp", rest), []);
    }

    #[test]
    fn tests_may_not_turn_an_arrow_either() {
        let rest = "[dev-dependencies]\nfastmcp = { workspace = true }\n";
        assert_eq!(
            found("fastmcp-auth", "crates/auth", rest),
            [("crate-arrow", 6)]
        );
    }

    #[test]
    fn what_is_for_tests_is_named_by_tests_alone() {
        let guard = |rest| found("fastmcp-guard", "crates/guard", rest);
        let tests = "[dev-dependencies]\nfastmcp-services.workspace = true\n";
        assert_eq!(guard(tests), []);
        let ships = "[dependencies]\nfastmcp-services.workspace = true\n";
        assert_eq!(guard(ships), [("crate-arrow", 6)]);
    }

    #[test]
    fn a_crate_that_must_never_be_named_is_found_under_every_name_and_table() {
        let audit = |rest| found("fastmcp-audit", "crates/audit", rest);
        assert_eq!(
            audit("[dependencies]\ntokio = \"1\"\n"),
            [("crate-never", 6)]
        );
        assert_eq!(
            audit("[dependencies.tokio]\nversion = \"1\"\n"),
            [("crate-never", 5)]
        );
        assert_eq!(
            audit("[dependencies]\nrt.workspace = true\n"),
            [("crate-never", 6)]
        );
        assert_eq!(
            audit("[target.'cfg(unix)'.dependencies]\nx = { package = \"tokio\" }\n"),
            [("crate-never", 6)]
        );
        assert_eq!(audit("[dev-dependencies]\ntokio = \"1\"\n"), []);
    }

    #[test]
    fn a_crate_outside_the_table_or_its_folder_or_the_lints_is_found() {
        assert_eq!(found("fastmcp-new", "crates/new", ""), [("crate-table", 1)]);
        assert_eq!(
            found("fastmcp-audit", "crates/log", ""),
            [("crate-table", 1)]
        );
        let tree = Tree::of(&[("xtask/Cargo.toml", "[package]\nname = \"xtask\"\n")]);
        let mut findings = Vec::new();
        check(&tree, &mut findings);
        assert_eq!(
            findings.iter().map(|one| one.rule).collect::<Vec<_>>(),
            ["workspace-lints"]
        );
    }

    #[test]
    fn other_workspaces_obey_other_rules() {
        assert_eq!(
            found(
                "anything",
                "bench/peer",
                "[dependencies]\nreqwest = \"1\"\n"
            ),
            []
        );
    }
}
