//! The pages of the documentation: their code is compiled, and here their links and tables are looked at.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// Every page beneath a folder.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A page without its blocks of code.
fn prose(text: &str) -> String {
    let mut in_code = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    assert!(!in_code, "a block of code has no end");
    prose
}

/// Where the links of a page lead.
fn links(prose: &str) -> impl Iterator<Item = &str> {
    let targets = prose.split("](").skip(1);
    targets.filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

/// The name under which a heading is linked to.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut all = pages(&docs());
    assert!(all.len() > 30, "{} pages", all.len());
    all.push(docs().join("../README.md"));
    all.push(docs().join("../examples/README.md"));
    for page in all {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&prose(&text)) {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            assert!(
                target.exists(),
                "{}: `{link}` leads nowhere",
                page.display()
            );
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let known = headings.map(anchor).any(|known| known == heading);
                assert!(known, "{}: `{link}` has no such heading", page.display());
            }
        }
    }
}

#[test]
fn every_page_of_the_guide_is_in_its_summary_and_compiled() {
    let source = docs().join("guide/src");
    let summary = fs::read_to_string(source.join("SUMMARY.md")).unwrap();
    let compiled = include_str!("../../src/lib.rs");
    for page in pages(&source) {
        let name = page.file_name().unwrap().to_str().unwrap();
        if name != "SUMMARY.md" {
            assert!(
                summary.contains(&format!("({name})")),
                "{name} is not in the summary"
            );
            let listed = format!("\"guide/src/{name}\"");
            assert!(
                compiled.contains(&listed),
                "the code of {name} is not compiled"
            );
        }
    }
    for page in pages(&docs().join("from-python")) {
        let name = page.file_name().unwrap().to_str().unwrap();
        let listed = format!("\"from-python/{name}\"");
        assert!(
            compiled.contains(&listed),
            "the code of {name} is not compiled"
        );
    }
}

/// The words of our side of a row that must stand on its page: the last parts of paths.
fn names(cell: &str) -> Vec<String> {
    let code = cell.split('`').skip(1).step_by(2);
    let words = code.flat_map(|code| {
        code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
            .filter(|word| word.len() > 3)
            .map(|path| path.rsplit("::").next().unwrap_or(path).to_owned())
            .collect::<Vec<_>>()
    });
    words.filter(|word| !word.is_empty()).collect()
}

#[test]
fn the_table_of_names_is_sorted_and_each_is_on_its_page() {
    let text = fs::read_to_string(docs().join("from-python.md")).unwrap();
    let (_, table) = text.split_once("## Names, from A to Z").unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `") || line.starts_with("| FastMCP"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() > 100, "{} rows", rows.len());
    let sorted = |row: &[&str]| row[0].replace(['`', '@'], "").to_lowercase();
    for pair in rows.windows(2) {
        assert!(
            sorted(&pair[0]) <= sorted(&pair[1]),
            "{} comes after {}",
            pair[0][0],
            pair[1][0]
        );
    }
    for row in rows {
        assert_eq!(row.len(), 3, "{row:?}");
        let page = links(row[2]).next().unwrap();
        let page = fs::read_to_string(docs().join(page)).unwrap();
        let ours = match row[1] {
            "the same" | "the same, as methods" => names(row[0]).into_iter().take(1).collect(),
            other => names(other),
        };
        for name in ours {
            assert!(
                page.contains(&name),
                "`{name}` of {} is not on {}",
                row[0],
                row[2]
            );
        }
    }
}
