//! Skills: instructions for a model with the files that belong to them.
//!
//! Source: SEP-2640, the extension `io.modelcontextprotocol/skills`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{
    content::{JsonObject, Meta},
    raw,
    resource::Resource,
};

/// The extension's identifier.
pub const EXTENSION: &str = "io.modelcontextprotocol/skills";
/// The file in which every skill begins.
pub const MANIFEST: &str = "SKILL.md";
/// The media type of a folder.
pub const DIRECTORY: &str = "inode/directory";
/// The most files of one skill, its manifest included.
pub const MAX_FILES: usize = 512;
/// The most bytes of all files of one skill.
pub const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A skill, as lists show it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Skill {
    /// The URI of its manifest.
    pub uri: String,
    /// What the manifest begins with, as JSON; `name` and `description` at least.
    pub frontmatter: JsonObject,
    /// Its files.
    pub resources: SkillFiles,
}

/// The files of a skill.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum SkillFiles {
    /// All of them, each once, the manifest among them.
    Listed(Vec<SkillFile>),
    /// They are made when they are asked for.
    Dynamic(Dynamic),
}

impl Default for SkillFiles {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

/// The word `dynamic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Dynamic {
    /// The word.
    #[serde(rename = "dynamic")]
    Dynamic,
}

/// One file of a skill.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct SkillFile {
    /// The URI that reads it.
    pub uri: String,
    /// `sha256:` and the SHA-256 of its bytes in 64 lowercase hexadecimal digits.
    pub digest: String,
    /// How many bytes it has.
    pub size: u64,
}

/// The result of `skills/list`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListSkillsResult {
    /// The skills of this page.
    pub skills: Vec<Skill>,
    /// Where the next page starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// The parameters of `skills/get`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct GetSkillParams<'a> {
    /// The URI of the skill's manifest.
    #[serde(borrow)]
    pub uri: Cow<'a, str>,
}

/// The result of `skills/get`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct GetSkillResult {
    /// The skill.
    pub skill: Skill,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// The parameters of `resources/directory/read`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ReadDirectoryParams<'a> {
    /// The folder's URI.
    #[serde(borrow)]
    pub uri: Cow<'a, str>,
    /// Where the page starts, as [`crate::discover::PaginatedParams::cursor`].
    #[serde(
        default,
        borrow,
        deserialize_with = "raw::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub cursor: Option<Cow<'a, str>>,
}

/// The result of `resources/directory/read`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadDirectoryResult {
    /// What is right in the folder; folders have the media type [`DIRECTORY`].
    pub resources: Vec<Resource>,
    /// Where the next page starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// Whether `name` may name a skill: 1 to 64 lowercase letters, digits and single hyphens within.
///
/// Source: the Agent Skills specification, "name".
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Splits a manifest into its frontmatter, which is YAML, and the rest.
///
/// Source: SEP-2640, "SKILL.md"; a line `---` begins the text and another ends the frontmatter.
#[must_use]
pub fn split_manifest(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let rest = text
        .strip_prefix("---\n")
        .or_else(|| text.strip_prefix("---\r\n"))?;
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end_matches(['\r', '\n', ' ', '\t']) == "---" {
            return Some((rest.get(..at)?, rest.get(at + line.len()..)?));
        }
        at += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::Raw;

    #[test]
    fn names_are_plain() {
        let longest = "a".repeat(64);
        for good in ["a", "git-workflow", "v2", &longest] {
            assert!(is_name(good), "{good}");
        }
        let too_long = "a".repeat(65);
        for bad in ["", "-a", "a-", "a--b", "A", "a_b", "ä", "a/b", &too_long] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn manifests_begin_with_frontmatter() {
        let expected = Some(("name: a\n", "# A\n"));
        assert_eq!(split_manifest("---\nname: a\n---\n# A\n"), expected);
        assert_eq!(
            split_manifest("\u{feff}---\nname: a\n--- \n# A\n"),
            expected
        );
        assert_eq!(
            split_manifest("---\r\nname: a\r\n---\r\n# A"),
            Some(("name: a\r\n", "# A"))
        );
        assert_eq!(split_manifest("---\na: 1\n---"), Some(("a: 1\n", "")));
        for bad in [
            "",
            "# A",
            "---\nname: a\n",
            "\n---\na: 1\n---\n",
            "----\na: 1\n---\n",
        ] {
            assert_eq!(split_manifest(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn files_are_listed_or_dynamic() {
        let read = |text: &str| serde_json::from_str::<SkillFiles>(text);
        assert_eq!(
            read(r#""dynamic""#).unwrap(),
            SkillFiles::Dynamic(Dynamic::Dynamic)
        );
        let listed = r#"[{"uri":"skill://a/SKILL.md","digest":"sha256:00","size":3}]"#;
        assert_eq!(
            serde_json::to_string(&read(listed).unwrap()).unwrap(),
            listed
        );
        assert!(read(r#""static""#).is_err());
        assert!(read("{}").is_err());
        let raw = Raw::parse(r#"{"uri":"skill://a","cursor":""}"#).unwrap();
        let params: ReadDirectoryParams<'_> = raw.decode().unwrap();
        assert_eq!(params.cursor.as_deref(), Some(""));
    }
}
