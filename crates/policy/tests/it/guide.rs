//! The guide for those who write policies: every example in it loads.

use fastmcp_policy::{PolicySet, SCHEMA, Sources};

const GUIDE: &str = include_str!("../../../../docs/policy.md");

/// The fenced blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    GUIDE
        .split(fence.as_str())
        .skip(1)
        .map(|rest| rest.split("```").next().expect("a block"))
        .collect()
}

#[test]
fn every_example_loads() {
    let (yaml, cedar) = (blocks("yaml"), blocks("cedar"));
    assert!(
        yaml.len() >= 2 && !cedar.is_empty(),
        "the guide has examples"
    );
    for block in yaml {
        // A block is a whole file, or rules that stand beside the built-in policy.
        let sources = if block.starts_with("version:") {
            Sources::new().with_yaml("guide", block)
        } else {
            Sources::built_in().with_yaml("guide", format!("version: 1\nrules:\n{block}"))
        };
        PolicySet::load(&sources, 1).unwrap_or_else(|error| panic!("{error}\n{block}"));
    }
    for block in cedar {
        let set = PolicySet::load(&Sources::built_in().with_cedar("guide", block), 1);
        let set = set.unwrap_or_else(|error| panic!("{error}\n{block}"));
        assert!(
            set.notes().iter().all(|note| note.file == "policies.yml"),
            "{:?}",
            set.notes()
        );
    }
}

#[test]
fn the_guide_names_every_kind_of_argument_of_the_schema() {
    for line in SCHEMA
        .lines()
        .filter_map(|line| line.trim().split_once(": Argument"))
    {
        assert!(
            GUIDE.contains(&format!("`.{}`", line.0))
                || GUIDE.contains(&format!("`context.arguments.{}`", line.0)),
            "{}",
            line.0
        );
    }
}
