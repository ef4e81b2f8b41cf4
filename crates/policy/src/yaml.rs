//! YAML as a tree that remembers its lines. Knows nothing of policies.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
pub(crate) use serde_saphyr::Error;
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Spanned};

/// The deepest nesting; the deepest that a policy needs is six.
const DEPTH_MAX: usize = 16;
/// The most nodes of one file.
const NODES_MAX: usize = 400_000;

/// One node and the line (from 1) where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) line: u64,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// A number that is no 64-bit integer. Policies have no use for one.
    Number,
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: u64,
    pub(crate) node: Node,
}

impl Value {
    /// Names the shape for an error message.
    pub(crate) const fn shape(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "a number",
            Self::Number => "a number that is not a 64-bit integer",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Parses one document. Duplicate keys, merge keys and unknown tags are errors.
pub(crate) fn parse(text: &str) -> Result<Node, Error> {
    parse_with(text, DuplicateKeyPolicy::Error)
}

fn parse_with(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Node, Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_documents: 1,
            max_aliases: 1_000,
        },
        duplicate_keys: duplicate_keys,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options).map(Node::from)
}

/// If a text was refused for a key that stands twice in one map: the key, and the line of the first, where that can be told.
pub(crate) fn repeated_key(error: &Error, text: &str) -> Option<(String, Option<u64>)> {
    let Error::DuplicateMappingKey { key, location } = error else {
        return None;
    };
    let key = key.clone()?;
    // The first of a kind is kept; maps within a map seldom have its keys.
    let kept = parse_with(text, DuplicateKeyPolicy::FirstWins).ok();
    let mut before = kept
        .iter()
        .flat_map(|node| lines_of(node, &key))
        .collect::<Vec<_>>();
    before.retain(|line| *line <= location.line());
    Some((key, before.last().copied()))
}

/// The lines on which a key stands, in the order of the text.
fn lines_of(node: &Node, key: &str) -> Vec<u64> {
    match &node.value {
        Value::List(list) => list.iter().flat_map(|node| lines_of(node, key)).collect(),
        Value::Map(entries) => {
            let of = |entry: &Entry| {
                let here = (entry.key == key).then_some(entry.line);
                here.into_iter()
                    .chain(lines_of(&entry.node, key))
                    .collect::<Vec<_>>()
            };
            entries.iter().flat_map(of).collect()
        }
        _ => Vec::new(),
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self {
            line: spanned.referenced.line(),
            value: spanned.value,
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Number, Value::Int))
    }

    fn visit_i128<E>(self, _: i128) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element::<Spanned<Value>>()? {
            list.push(node.into());
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = map.next_entry::<Spanned<String>, Spanned<Value>>()? {
            entries.push(Entry {
                line: key.referenced.line(),
                key: key.value,
                node: node.into(),
            });
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_their_lines() {
        let node = parse("a: 1\nb:\n  - x\n  - yes\n\"c d\": {e: true}\n").expect("valid");
        let Value::Map(entries) = node.value else {
            panic!("a map")
        };
        let lines: Vec<_> = entries
            .iter()
            .map(|entry| (entry.key.as_str(), entry.line, entry.node.line))
            .collect();
        assert_eq!(lines, [("a", 1, 1), ("b", 2, 3), ("c d", 5, 5)]);
        let Value::List(list) = &entries[1].node.value else {
            panic!("a list")
        };
        assert_eq!(
            list[1],
            Node {
                line: 4,
                value: Value::Text("yes".to_owned())
            }
        );
    }

    #[test]
    fn what_could_hide_a_meaning_is_refused() {
        for (text, line) in [
            ("a: 1\na: 2\n", 2),
            ("a: &x {b: 1}\nc:\n  <<: *x\n", 3),
            ("a: !secret 1\n", 1),
            ("a: [\n", 1),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(
                error.location().map(|at| at.line()),
                Some(line),
                "{text}: {error}"
            );
        }
        assert!(parse(&"[".repeat(40)).is_err());
        assert!(parse("a: 1\n---\nb: 2\n").is_err());
    }
}
