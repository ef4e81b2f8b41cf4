//! Roots: the folders that a client works in.
//!
//! Source: MCP 2026-07-28, client/roots; deprecated there.

use serde::{Deserialize, Serialize};

use crate::content::Meta;

/// A folder or file that the client works in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Root {
    /// A `file:` URI.
    pub uri: String,
    /// The name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl Root {
    /// The root at `uri`.
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            ..Self::default()
        }
    }
}

/// What a client answers to `roots/list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct ListRootsResult {
    /// The roots.
    pub roots: Vec<Root>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_read_and_written() {
        let text = r#"{"roots":[{"uri":"file:///a","name":"A"},{"uri":"file:///b"}]}"#;
        let result: ListRootsResult = serde_json::from_str(text).unwrap();
        assert_eq!(result.roots[1], Root::new("file:///b"));
        assert_eq!(serde_json::to_string(&result).unwrap(), text);
        assert!(serde_json::from_str::<ListRootsResult>("{}").is_err());
    }
}
