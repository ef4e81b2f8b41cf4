//! Words that no committed text may hold.

use crate::tidy::{
    Finding,
    table::{PRIVATE_FOLDERS, PUBLIC_FOLDERS, UNFINISHED},
    tree::File,
};

pub(crate) fn check(file: &File, findings: &mut Vec<Finding>) {
    for (index, line) in file.text.lines().enumerate() {
        if let Some(folder) = private_folder(line) {
            findings.push(Finding::new(
                &file.path,
                index + 1,
                "private-path",
                format!("names a folder of one machine, `{folder}`"),
                "use a path from the top of the checkout, or one in table::PUBLIC_FOLDERS",
            ));
        }
        if !file.is_rust() {
            continue;
        }
        if let Some(phrase) = unfinished(line) {
            findings.push(Finding::new(
                &file.path,
                index + 1,
                "unfinished",
                format!("says `{phrase}`"),
                "do it now, or return an error that says what is not supported",
            ));
        }
    }
}

fn private_folder(line: &str) -> Option<&'static str> {
    PRIVATE_FOLDERS.iter().copied().find(|folder| {
        line.match_indices(folder).any(|(at, _)| {
            let begins = !line
                .get(..at)
                .is_some_and(|before| before.ends_with(is_part_of_path));
            let rest = line.get(at..).unwrap_or_default();
            let named = rest.get(folder.len()..).is_some_and(|name| {
                name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.')
            });
            begins && named && !PUBLIC_FOLDERS.iter().any(|public| rest.starts_with(public))
        })
    })
}

/// Whether a path goes on to the left of this character: `crates/x/home/y` is no home.
fn is_part_of_path(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}')
}

fn unfinished(line: &str) -> Option<&'static str> {
    UNFINISHED.iter().copied().find(|phrase| {
        line.match_indices(phrase).any(|(at, _)| {
            let before = line.get(..at).and_then(|text| text.chars().next_back());
            let after = line
                .get(at + phrase.len()..)
                .and_then(|text| text.chars().next());
            ![before, after]
                .into_iter()
                .flatten()
                .any(|c| c.is_alphanumeric() || c == '_' || c == '!')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::tree::Tree;

    fn rules(path: &str, text: &str) -> Vec<(&'static str, usize)> {
        let tree = Tree::of(&[(path, text)]);
        let mut findings = Vec::new();
        check(&tree.files()[0], &mut findings);
        findings
            .iter()
            .map(|finding| (finding.rule, finding.line))
            .collect()
    }

    #[test]
    fn folders_of_one_machine_are_found() {
        let home = concat!("/ho", "me/");
        assert_eq!(
            rules("a.md", &format!("see\n`{home}ann/x`\n")),
            [("private-path", 2)]
        );
        assert_eq!(
            rules("a.md", &format!("file://{home}ann")),
            [("private-path", 1)]
        );
        assert_eq!(rules("a.md", &format!("crates/x{home}page.md")), []);
        assert_eq!(rules("a.md", &format!("{home}nonroot/data")), []);
        assert_eq!(rules("a.md", &format!("the folder {home}")), []);
    }

    #[test]
    fn unfinished_work_is_found_in_sources_only() {
        let phrase = concat!("TO", "DO");
        assert_eq!(
            rules("crates/a/src/b.rs", &format!("\n// {phrase}: later\n")),
            [("unfinished", 2)]
        );
        assert_eq!(
            rules("crates/a/src/b.rs", &format!("let {phrase}_LIST = 1;")),
            []
        );
        assert_eq!(rules("crates/a/src/b.rs", "list(\"todo.txt\")"), []);
        assert_eq!(rules("a.md", phrase), []);
    }
}
