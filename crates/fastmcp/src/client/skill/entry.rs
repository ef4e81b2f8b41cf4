//! A server's entry of a skill, checked before anything of it is used.
//!
//! Source: SEP-2640, "Skill Entries" and "Limits".

use std::collections::BTreeMap;

use fastmcp_protocol::{
    content::JsonObject,
    skill::{self as wire, MANIFEST, MAX_BYTES, MAX_FILES, SkillFile, SkillFiles},
};
use serde_json::Value;

use super::error::SkillError;
use crate::{
    component::percent_decode,
    skill::{escaped, frontmatter, is_path},
};

/// The deepest path of a file, one less than may be written beneath the folder that has the skill's name.
const MAX_DEPTH: usize = 63;

/// A skill that may be used.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) uri: String,
    /// The URI of the skill's folder, without a slash at its end.
    root: String,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) frontmatter: JsonObject,
    /// By their paths beneath the skill's folder; none where they are made when they are asked for.
    pub(super) files: Option<BTreeMap<String, SkillFile>>,
}

impl Entry {
    pub(super) fn read(value: Value) -> Result<Self, SkillError> {
        let uri = match value.get("uri") {
            Some(Value::String(uri)) => uri.clone(),
            _ => String::new(),
        };
        let unfit = |why: String| SkillError::Unfit {
            skill: uri.clone(),
            why,
        };
        let skill: wire::Skill = serde_json::from_value(value)
            .map_err(|e| unfit(format!("entry is ill-formed: {e}")))?;
        let root = root(&skill.uri).ok_or_else(|| {
            unfit(format!(
                "a skill's URI is `SCHEME://PATH/{MANIFEST}`, without queries and control characters"
            ))
        })?;
        let text = |field: &str| {
            let value = skill.frontmatter.get(field).and_then(Value::as_str);
            let value = value.filter(|text| !text.trim().is_empty());
            value.map(str::to_owned).ok_or_else(|| {
                unfit(format!(
                    "`frontmatter.{field}` must be a text that is not empty"
                ))
            })
        };
        let (name, description) = (text("name")?, text("description")?);
        if !wire::is_name(&name) {
            return Err(unfit(
                "`frontmatter.name` must have 1 to 64 lowercase letters, digits and single hyphens \
                 between them"
                    .to_owned(),
            ));
        }
        if root.rsplit('/').next() != Some(&name) {
            return Err(unfit(format!(
                "its folder must be named `{name}`, as `frontmatter.name` is"
            )));
        }
        let files = match skill.resources {
            SkillFiles::Listed(listed) => Some(files(&skill.uri, root, listed)?),
            SkillFiles::Dynamic(_) => None,
        };
        Ok(Self {
            root: root.to_owned(),
            name,
            description,
            frontmatter: skill.frontmatter,
            files,
            uri: skill.uri,
        })
    }

    /// The URI of the file at `path`, and what is listed of it; nothing is listed of a skill whose files
    /// are made when they are asked for.
    pub(super) fn file(&self, path: &str) -> Result<(String, Option<&SkillFile>), SkillError> {
        let unlisted = || SkillError::Unlisted {
            skill: self.uri.clone(),
            file: path.to_owned(),
        };
        match &self.files {
            Some(files) => {
                let file = files.get(path).ok_or_else(unlisted)?;
                Ok((file.uri.clone(), Some(file)))
            }
            None if path == MANIFEST => Ok((self.uri.clone(), None)),
            None if is_path(path, MAX_DEPTH) => {
                Ok((format!("{}/{}", self.root, escaped(path)), None))
            }
            None => Err(unlisted()),
        }
    }

    /// Compares what `manifest` says of the skill with what the entry says of it, field by field.
    ///
    /// Source: SEP-2640, "Frontmatter Verification".
    pub(super) fn agrees_with(&self, manifest: &str) -> Result<(), SkillError> {
        let found = frontmatter::read(manifest).map_err(|error| SkillError::Unfit {
            skill: self.uri.clone(),
            why: error.message().to_owned(),
        })?;
        let fields = self.frontmatter.keys().chain(found.keys());
        let mut differs =
            fields.filter(
                |field| match (self.frontmatter.get(*field), found.get(*field)) {
                    (Some(listed), Some(found)) => !is_same(listed, found),
                    _ => true,
                },
            );
        match differs.next() {
            Some(field) => Err(SkillError::Frontmatter {
                skill: self.uri.clone(),
                field: field.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// The folder of the skill whose manifest is at `uri`.
fn root(uri: &str) -> Option<&str> {
    let root = uri.strip_suffix(MANIFEST)?.strip_suffix('/')?;
    let (scheme, path) = root.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    (is_scheme && is_plain(path) && !path.is_empty()).then_some(root)
}

/// Whether `text` may stand in a URI as (part of) a path: no query, no fragment, nothing that cannot be
/// seen.
fn is_plain(text: &str) -> bool {
    let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#' | '\\');
    !text.contains(odd)
}

/// The files of a skill by their paths.
fn files(
    skill: &str,
    root: &str,
    listed: Vec<SkillFile>,
) -> Result<BTreeMap<String, SkillFile>, SkillError> {
    let unfit = |why: String| SkillError::Unfit {
        skill: skill.to_owned(),
        why,
    };
    if listed.len() > MAX_FILES {
        return Err(SkillError::TooManyFiles {
            skill: skill.to_owned(),
            files: listed.len(),
            max: MAX_FILES,
        });
    }
    let bytes = listed
        .iter()
        .fold(0_u64, |sum, file| sum.saturating_add(file.size));
    if bytes > MAX_BYTES {
        return Err(SkillError::TooLarge {
            skill: skill.to_owned(),
            bytes,
            max: MAX_BYTES,
        });
    }
    let mut files = BTreeMap::new();
    for file in listed {
        let path = path(root, &file.uri).ok_or_else(|| SkillError::Outside {
            skill: skill.to_owned(),
            file: file.uri.clone(),
        })?;
        if !is_digest(&file.digest) {
            return Err(unfit(format!(
                "digest of `{path}` must be `sha256:` and 64 lowercase hexadecimal digits"
            )));
        }
        if files.contains_key(&path) {
            return Err(unfit(format!("file `{path}` is listed twice")));
        }
        files.insert(path, file);
    }
    if files.get(MANIFEST).is_none_or(|file| file.uri != skill) {
        return Err(unfit(format!("`{MANIFEST}` is not among its files")));
    }
    let folders = |path: &str| -> Vec<String> {
        let ends = path.match_indices('/');
        ends.filter_map(|(end, _)| path.get(..end).map(str::to_owned))
            .collect()
    };
    for path in files.keys() {
        if let Some(both) = folders(path).into_iter().find(|f| files.contains_key(f)) {
            return Err(unfit(format!(
                "`{both}` is listed as a file and as a folder"
            )));
        }
    }
    Ok(files)
}

/// The path of the file at `uri` beneath `root`; none where it is not beneath it.
fn path(root: &str, uri: &str) -> Option<String> {
    let rest = uri.strip_prefix(root)?.strip_prefix('/')?;
    if !is_plain(rest) {
        return None;
    }
    // Part by part: `%2F` is no way to another folder.
    let parts: Option<Vec<_>> = rest
        .split('/')
        .map(|part| percent_decode(part).filter(|part| !part.contains('/')))
        .collect();
    Some(parts?.join("/")).filter(|path| is_path(path, MAX_DEPTH))
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

/// Whether two values are the same; 1 and 1.0 are, for JSON does not tell them apart.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other
                || one
                    .as_f64()
                    .zip(other.as_f64())
                    .is_some_and(|(one, other)| one.to_bits() == other.to_bits())
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, a)| other.get(key).is_some_and(|b| is_same(a, b)))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn entry(uri: &str, files: &[&str]) -> Value {
        let files: Vec<_> = files
            .iter()
            .map(|uri| json!({"uri": uri, "digest": DIGEST, "size": 3}))
            .collect();
        json!({
            "uri": uri,
            "frontmatter": {"name": "refunds", "description": "How refunds work."},
            "resources": files,
        })
    }

    fn refused(value: Value) -> String {
        Entry::read(value).unwrap_err().to_string()
    }

    const URI: &str = "skill://billing/refunds/SKILL.md";

    #[test]
    fn files_are_known_by_their_decoded_paths() {
        let value = entry(
            URI,
            &[
                URI,
                "skill://billing/refunds/forms/gr%C3%B6%C3%9Fe%201.md",
                "skill://billing/refunds/nested/SKILL.md",
            ],
        );
        let entry = Entry::read(value).unwrap();
        let paths: Vec<_> = entry.files.as_ref().unwrap().keys().collect();
        assert_eq!(paths, ["SKILL.md", "forms/größe 1.md", "nested/SKILL.md"]);
        let (uri, listed) = entry.file("forms/größe 1.md").unwrap();
        assert_eq!(uri, "skill://billing/refunds/forms/gr%C3%B6%C3%9Fe%201.md");
        assert_eq!(listed.unwrap().size, 3);
        assert!(matches!(
            entry.file("forms/b.md"),
            Err(SkillError::Unlisted { .. })
        ));
    }

    #[test]
    fn files_outside_the_skill_are_refused_by_name() {
        for file in [
            "skill://billing/refunds/../secret.md",
            "skill://billing/refunds/%2e%2e/secret.md",
            "skill://billing/refunds/a%2F..%2Fb.md",
            "skill://billing/refunds/a%5C..%5Cb.md",
            "skill://billing/refunds/a%00b",
            "skill://billing/refunds/a%ff",
            "skill://billing/refunds//etc/passwd",
            "skill://billing/refunds/%2Fetc/passwd",
            "skill://billing/refunds/",
            "skill://billing/refunds/.",
            "skill://billing/refunds/a?b",
            "skill://billing/refunds/a#b",
            "skill://billing/refunds/a b",
            "skill://billing/refunds2/a.md",
            "skill://billing/other/a.md",
            "https://evil.example/refunds/a.md",
            "file:///etc/passwd",
            "a.md",
            "/etc/passwd",
            "",
        ] {
            let message = refused(entry(URI, &[URI, file]));
            assert!(
                message.contains("no path beneath the skill"),
                "{file}: {message}"
            );
            let shown = file.get(..20).unwrap_or(file);
            assert!(message.contains(shown), "{file}: {message}");
        }
        let deep = format!("skill://billing/refunds/{}a", "d/".repeat(63));
        assert!(refused(entry(URI, &[URI, &deep])).contains("no path beneath"));
        let just = format!("skill://billing/refunds/{}a", "d/".repeat(62));
        assert!(Entry::read(entry(URI, &[URI, &just])).is_ok());
    }

    #[test]
    fn entries_that_break_a_rule_are_refused_with_the_rule() {
        let with = |field: &str, value: Value| {
            let mut all = entry(URI, &[URI]);
            all[field] = value;
            all
        };
        let frontmatter = |name: &str| json!({"name": name, "description": "d"});
        let twice = entry(
            URI,
            &[
                URI,
                "skill://billing/refunds/a",
                "skill://billing/refunds/%61",
            ],
        );
        let both = entry(
            URI,
            &[
                URI,
                "skill://billing/refunds/a",
                "skill://billing/refunds/a/b",
            ],
        );
        let file = |digest: &str, size: Value| {
            with(
                "resources",
                json!([{"uri": URI, "digest": digest, "size": size}]),
            )
        };
        for (value, why) in [
            (json!("text"), "ill-formed"),
            (json!({"uri": URI}), "ill-formed"),
            (with("resources", json!("static")), "ill-formed"),
            (with("resources", json!(null)), "ill-formed"),
            (
                with("resources", json!([])),
                "`SKILL.md` is not among its files",
            ),
            (
                with("frontmatter", json!({"name": "refunds"})),
                "`frontmatter.description`",
            ),
            (
                with("frontmatter", json!({"name": 1, "description": "d"})),
                "`frontmatter.name`",
            ),
            (
                with("frontmatter", frontmatter("Refunds")),
                "lowercase letters",
            ),
            (
                with("frontmatter", frontmatter("other")),
                "must be named `other`",
            ),
            (with("uri", json!("skill://billing/refunds")), "URI is"),
            (with("uri", json!("skill:///SKILL.md")), "URI is"),
            (with("uri", json!("refunds/SKILL.md")), "URI is"),
            (with("uri", json!("skill://a?b/refunds/SKILL.md")), "URI is"),
            (with("uri", json!("1://refunds/SKILL.md")), "URI is"),
            (file("sha256:00", json!(3)), "64 lowercase"),
            (file(&DIGEST.to_uppercase(), json!(3)), "64 lowercase"),
            (file(DIGEST, json!(-1)), "ill-formed"),
            (twice, "`a` is listed twice"),
            (both, "as a file and as a folder"),
        ] {
            let message = refused(value);
            assert!(message.contains(why), "{why}: {message}");
        }
    }

    #[test]
    fn skills_are_bounded() {
        let uris: Vec<_> = (1..=MAX_FILES)
            .map(|n| format!("skill://billing/refunds/{n}"))
            .collect();
        let mut all: Vec<_> = uris.iter().map(String::as_str).collect();
        all.insert(0, URI);
        let message = refused(entry(URI, &all));
        assert!(message.contains("513 files; 512"), "{message}");
        all.pop();
        assert!(Entry::read(entry(URI, &all)).is_ok());
        let mut large = entry(URI, &[URI, "skill://billing/refunds/a"]);
        large["resources"][1]["size"] = json!(MAX_BYTES - 3);
        assert!(Entry::read(large.clone()).is_ok());
        large["resources"][1]["size"] = json!(MAX_BYTES - 2);
        assert!(refused(large.clone()).contains("16777217 bytes; 16777216"));
        large["resources"][1]["size"] = json!(u64::MAX);
        assert!(refused(large).contains("16777216"));
    }

    #[test]
    fn frontmatter_is_compared_field_by_field() {
        let mut value = entry(URI, &[URI]);
        value["frontmatter"]["version"] = json!(1.1);
        value["frontmatter"]["tags"] = json!(["a", 1.0, {"b": null}]);
        let entry = Entry::read(value).unwrap();
        let manifest = |rest: &str| {
            format!("---\nname: refunds\ndescription: How refunds work.\n{rest}---\n# Refunds\n")
        };
        let same = "version: 1.10\ntags: [a, 1, {b: null}]\n";
        entry.agrees_with(&manifest(same)).unwrap();
        for (rest, field) in [
            ("version: 1.2\ntags: [a, 1, {b: null}]\n", "version"),
            ("version: 1.1\ntags: [a, 1]\n", "tags"),
            ("version: 1.1\n", "tags"),
            (
                "version: 1.1\ntags: [a, 1, {b: null}]\nallowed-tools: Bash\n",
                "allowed-tools",
            ),
        ] {
            let error = entry.agrees_with(&manifest(rest)).unwrap_err();
            let expected = SkillError::Frontmatter {
                skill: URI.to_owned(),
                field: field.to_owned(),
            };
            assert_eq!(error, expected, "{rest}");
        }
        assert!(matches!(
            entry.agrees_with("# Refunds"),
            Err(SkillError::Unfit { .. })
        ));
    }

    #[test]
    fn files_of_dynamic_skills_lie_beneath_them_too() {
        let mut value = entry(URI, &[]);
        value["resources"] = json!("dynamic");
        let entry = Entry::read(value).unwrap();
        let (uri, listed) = entry.file("forms/a b.md").unwrap();
        assert_eq!(uri, "skill://billing/refunds/forms/a%20b.md");
        assert!(listed.is_none());
        assert_eq!(entry.file(MANIFEST).unwrap().0, URI);
        for path in ["../a", "/a", "a//b", "", "a\\b"] {
            assert!(matches!(entry.file(path), Err(SkillError::Unlisted { .. })));
        }
    }
}
