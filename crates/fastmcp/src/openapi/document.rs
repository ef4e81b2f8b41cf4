//! The document: read once, within bounds, and looked up by JSON pointer.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy};

use crate::error::{Error, Result};

/// How many references may lead to one another.
const MAX_HOPS: usize = 32;
/// The deepest nesting of a document in YAML; JSON has a bound of the same size in its reader.
const MAX_DEPTH: usize = 128;
/// The most nodes of a document in YAML, what aliases repeat included.
const MAX_NODES: usize = 4_000_000;
const MAX_ALIASES: usize = 10_000;

/// Which JSON Schema a document speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// OpenAPI 3.0: a dialect of its own.
    V30,
    /// OpenAPI 3.1: JSON Schema 2020-12.
    V31,
}

/// A document of OpenAPI 3.0 or 3.1.
#[derive(Debug)]
pub(super) struct Document {
    root: Value,
    version: Version,
}

/// A value of the document with the JSON pointer that leads to it.
#[derive(Clone, Debug)]
pub(super) struct Node<'d> {
    pub(super) value: &'d Value,
    pub(super) at: String,
}

impl Document {
    /// Reads JSON, or YAML where the text does not begin with `{`.
    pub(super) fn read(text: &str, max_bytes: usize) -> Result<Self> {
        if text.len() > max_bytes {
            return Err(Error::internal(format!(
                "OpenAPI document: has {} bytes; {max_bytes} are read at most, see `limits`",
                text.len()
            )));
        }
        let unfit = |why: &dyn std::fmt::Display| {
            let why: String = why.to_string().chars().take(400).collect();
            Error::internal(format!("OpenAPI document: {why}"))
        };
        if text.trim_start().starts_with('{') {
            return Self::of(serde_json::from_str(text).map_err(|e| unfit(&e))?);
        }
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: MAX_DEPTH,
                max_nodes: MAX_NODES,
                max_documents: 1,
                max_aliases: MAX_ALIASES,
            },
            duplicate_keys: DuplicateKeyPolicy::Error,
            merge_keys: MergeKeyPolicy::Error,
            strict_booleans: true,
            reject_unsupported_tags: true,
            with_snippet: false,
        };
        Self::of(serde_saphyr::from_str_with_options(text, options).map_err(|e| unfit(&e))?)
    }

    /// Takes a document that was read before.
    pub(super) fn of(root: Value) -> Result<Self> {
        let unfit = |why: &str| Error::internal(format!("OpenAPI document: {why}"));
        if root.get("swagger").is_some() {
            return Err(unfit(
                "is of Swagger 2.0; convert it to OpenAPI 3.0 or 3.1 first",
            ));
        }
        let version = match root.get("openapi") {
            Some(Value::String(version)) => version.clone(),
            // YAML without quotes.
            Some(Value::Number(version)) => version.to_string(),
            _ => return Err(unfit("has no `openapi`, which names the version")),
        };
        let is = |wanted: &str| {
            version
                .strip_prefix(wanted)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let version = if is("3.0") || version == "3" {
            Version::V30
        } else if is("3.1") {
            Version::V31
        } else {
            let shown: String = version.chars().take(32).collect();
            return Err(unfit(&format!(
                "`openapi` is `{shown}`; versions 3.0 and 3.1 are read"
            )));
        };
        Ok(Self { root, version })
    }

    pub(super) const fn version(&self) -> Version {
        self.version
    }

    /// The whole document.
    pub(super) fn root(&self) -> Node<'_> {
        Node {
            value: &self.root,
            at: "#".to_owned(),
        }
    }

    /// What `node` stands for: itself, or what its `$ref` leads to.
    ///
    /// Source: OpenAPI 3.1.1, section 4.8.23, "Reference Object".
    pub(super) fn resolve<'d>(&'d self, node: Node<'d>) -> Result<Node<'d>> {
        let first = node.at.clone();
        let mut node = node;
        for _ in 0..MAX_HOPS {
            let Some(Value::String(to)) = node.value.get("$ref") else {
                return Ok(node);
            };
            node = self.follow(&node.at, to)?;
        }
        Err(wrong(&first, "its `$ref`s lead in a circle or too far"))
    }

    /// What the reference `to`, which stands at `from`, leads to. Nothing outside of the document is ever
    /// fetched or opened.
    pub(super) fn follow(&self, from: &str, to: &str) -> Result<Node<'_>> {
        let shown: String = to.chars().take(128).collect();
        let Some(pointer) = to.strip_prefix("#/") else {
            return Err(wrong(
                from,
                &format!(
                    "`$ref` is `{shown}`; only `#/…` is followed: bundle what is elsewhere into the document"
                ),
            ));
        };
        let lost = || {
            wrong(
                from,
                &format!("`$ref` leads to `{shown}`, which is not there"),
            )
        };
        let pointer = percent_decode_str(pointer)
            .decode_utf8()
            .map_err(|_| lost())?;
        let value = self.root.pointer(&format!("/{pointer}")).ok_or_else(lost)?;
        Ok(Node {
            value,
            at: format!("#/{pointer}"),
        })
    }
}

impl<'d> Node<'d> {
    /// An error that says where it is.
    pub(super) fn wrong(&self, why: &str) -> Error {
        wrong(&self.at, why)
    }

    /// The member `key`, where it is there and not null.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(Self {
            value,
            at: below(&self.at, key),
        })
    }

    /// The members; none where it is no object.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'d str, Node<'d>)> + use<'d> {
        let at = self.at.clone();
        let members = self.value.as_object().into_iter().flat_map(Map::iter);
        members.map(move |(key, value)| {
            let at = below(&at, key);
            (key.as_str(), Node { value, at })
        })
    }

    /// The items; none where it is no list.
    pub(super) fn items(&self) -> impl Iterator<Item = Node<'d>> + use<'d> {
        let at = self.at.clone();
        let items = self.value.as_array().into_iter().flatten();
        items.enumerate().map(move |(index, value)| Node {
            value,
            at: format!("{at}/{index}"),
        })
    }

    /// The text `key`.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'d str>> {
        match self.get(key) {
            None => Ok(None),
            Some(node) => match node.value {
                Value::String(text) => Ok(Some(text)),
                _ => Err(node.wrong("must be a text")),
            },
        }
    }

    /// The text `key`, which must be there.
    pub(super) fn needed(&self, key: &str) -> Result<&'d str> {
        self.text(key)?
            .ok_or_else(|| self.wrong(&format!("must have `{key}`")))
    }

    /// Whether `key` is there and true.
    pub(super) fn is(&self, key: &str) -> bool {
        self.value.get(key) == Some(&Value::Bool(true))
    }
}

pub(super) fn wrong(at: &str, why: &str) -> Error {
    let at: String = at.chars().take(512).collect();
    Error::internal(format!("OpenAPI document, `{at}`: {why}"))
}

/// The pointer to the member `key`.
///
/// Source: RFC 6901, section 3.
pub(super) fn below(at: &str, key: &str) -> String {
    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(made: Result<Document>) -> String {
        made.unwrap_err().message().to_owned()
    }

    #[test]
    fn json_and_yaml_are_the_same_document() {
        let json = Document::read(
            r#"{"openapi": "3.0.3", "paths": {"/a": {"get": {"responses": {"200": {}}}}}}"#,
            1_000,
        )
        .unwrap();
        let yaml = Document::read(
            "openapi: 3.0.3\npaths:\n  /a:\n    get:\n      responses:\n        200: {}\n",
            1_000,
        )
        .unwrap();
        assert_eq!(json.root, yaml.root);
        assert_eq!(json.version(), Version::V30);
        let short = Document::read("openapi: 3.1\n", 1_000).unwrap();
        assert_eq!(short.version(), Version::V31);
    }

    #[test]
    fn other_documents_are_refused_with_what_to_do() {
        let cases = [
            ("{", "EOF"),
            ("[]", "has no `openapi`"),
            ("{}", "has no `openapi`"),
            (r#"{"swagger": "2.0"}"#, "convert it"),
            (r#"{"openapi": "2.0"}"#, "3.0 and 3.1"),
            (r#"{"openapi": "3.10.0"}"#, "3.0 and 3.1"),
            ("openapi: 3.0.0\nopenapi: 3.0.0\n", "OpenAPI document: "),
        ];
        for (text, why) in cases {
            let message = refusal(Document::read(text, 1_000));
            assert!(message.contains(why), "{text}: {message}");
        }
        assert!(refusal(Document::read("{   }", 4)).contains("5 bytes"));
        let nested = format!("openapi: 3.0.0\nx: {}", "[".repeat(100_000));
        assert!(Document::read(&nested, 1 << 20).is_err());
        let aliases = format!("openapi: 3.0.0\nx: &a [1]\ny: [{}]\n", "*a,".repeat(20_000));
        assert!(Document::read(&aliases, 1 << 20).is_err());
    }

    #[test]
    fn references_stay_in_the_document_and_have_an_end() {
        let document = Document::of(json!({
            "openapi": "3.1.0",
            "a/b": {"c~d": {"$ref": "#/e%20f"}},
            "e f": {"$ref": "#/x"},
            "x": {"value": 1},
            "round": {"$ref": "#/about"},
            "about": {"$ref": "#/round"},
            "out": {"$ref": "https://example.com/x.json#/a"},
            "file": {"$ref": "../x.json"},
            "lost": {"$ref": "#/nowhere"},
        }))
        .unwrap();
        let found = |to: &str| document.resolve(document.follow("#", to)?);
        let node = found("#/a~1b/c~0d").unwrap();
        assert_eq!(
            (node.at.as_str(), node.value),
            ("#/x", &json!({"value": 1}))
        );
        for (to, why) in [
            ("#/round", "circle"),
            ("#/out", "bundle"),
            ("#/file", "bundle"),
            ("#/lost", "which is not there"),
            ("#/nowhere", "which is not there"),
        ] {
            let message = found(to).unwrap_err().message().to_owned();
            assert!(message.contains(why), "{to}: {message}");
        }
        assert!(found("#/lost").unwrap_err().message().contains("`#/lost`"));
    }
}
