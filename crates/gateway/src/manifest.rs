//! What a tool is to the gateway: its manifest.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The tenant whose manifests everybody sees.
pub const PUBLIC_TENANT: &str = "public";

/// The name of a tool, `provider:tool`, for example `database:listTables`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ToolId(String);

/// A name that is not a [`ToolId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a tool id: it takes `provider:tool`, each part 1 or more of `A-Za-z0-9_.-` (`:` too in the second), 128 characters at most"
)]
pub struct InvalidToolId(String);

impl ToolId {
    /// Reads a tool id.
    ///
    /// # Errors
    ///
    /// [`InvalidToolId`] when `text` has another form.
    pub fn parse(text: &str) -> Result<Self, InvalidToolId> {
        let word = |s: &str| {
            !s.is_empty()
                && s.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b':'))
        };
        match text.split_once(':') {
            Some((provider, tool)) if text.len() <= 128 && word(provider) && word(tool) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(InvalidToolId(text.chars().take(160).collect())),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the adapter calls this tool: the part behind the first colon.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, endpoint)| endpoint)
    }

    /// The tool's name on the MCP door, where a colon is not allowed.
    #[must_use]
    pub fn mcp_name(&self) -> String {
        self.0.replace(':', "_")
    }
}

impl fmt::Display for ToolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ToolId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The most labels of one manifest.
const MAX_LABELS: usize = 16;
/// The most that a call may be said to cost. A sum of a million of them is still exact to the millionth.
const MAX_COST: f64 = 1_000_000_000.0;
/// The longest that a call may be said to take: a week, in milliseconds.
const MAX_LATENCY_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// The most bytes of a title.
const MAX_NAME: usize = 256;
/// The most bytes of a description.
const MAX_DESCRIPTION: usize = 16 * 1_024;
/// The most scopes, and the most safety tags. Policy judges no more than 512.
const MAX_WORDS: usize = 128;
/// The most bytes of a scope, a safety tag or a version.
const MAX_WORD: usize = 256;
/// The most examples.
const MAX_EXAMPLES: usize = 64;
/// The most bytes of a method.
const MAX_METHOD: usize = 16;
/// The most bytes of a route.
const MAX_ROUTE: usize = 2_048;

/// What the results of a tool are about, for example `pii`: whoever reads one carries the label from then on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Label(String);

/// A text that is not a [`Label`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a label: it takes 1 to 64 of `a-z`, `0-9`, `_`, `.`, `-` and `:`")]
pub struct InvalidLabel(String);

impl Label {
    /// Reads a label.
    ///
    /// # Errors
    ///
    /// [`InvalidLabel`] when `text` has another form.
    pub fn parse(text: &str) -> Result<Self, InvalidLabel> {
        if fastmcp_policy::is_label(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidLabel(text.chars().take(80).collect()))
        }
    }

    /// The label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// How sensitive what a tool returns is. Source: the enterprise patterns, "Security Classification".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Classification {
    /// For everybody.
    Public,
    /// For the organisation. The default.
    #[default]
    Internal,
    /// For those who need it.
    Confidential,
    /// For few.
    Secret,
}

impl Classification {
    /// The word in manifests and policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
            Self::Secret => "secret",
        }
    }
}

/// A tool as registered.
///
/// Source: the platform document, "Create Tool Manifest"; its field names are the wire's.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The tool's name.
    #[serde(rename = "toolId")]
    pub tool_id: ToolId,
    /// A title for people.
    pub name: String,
    /// What the tool does, for the model.
    pub description: String,
    /// JSON Schema 2020-12 of the arguments; its root is an object.
    pub inputs: Value,
    /// JSON Schema of the result.
    #[serde(default = "any_object")]
    pub outputs: Value,
    /// Scopes that a caller needs, all of them.
    #[serde(default)]
    pub required_scopes: Vec<String>,
    /// Words that policy reads, for example `financial` or `destructive`.
    #[serde(default)]
    pub safety_tags: BTreeSet<String>,
    /// The adapter that answers.
    pub provider_id: String,
    /// What a call costs, in the deployment's own unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_estimate: Option<f64>,
    /// How long a call takes, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_estimate_ms: Option<u64>,
    /// Who sees it: a tenant, or `public`.
    #[serde(default = "public_tenant")]
    pub tenant: String,
    /// Examples of arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Value>,
    /// Whether a person must look at the manifest before it is used.
    #[serde(default)]
    pub manual_review_required: bool,
    /// The HTTP method, for tools that came from a description of a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_method: Option<String>,
    /// The route, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Whether calls change nothing. Tools are writing unless this is `true`.
    #[serde(default)]
    pub read_only: bool,
    /// How sensitive the result is.
    #[serde(default)]
    pub classification: Classification,
    /// What its results are about; at most 16. The classification is one too, and need not be named.
    #[serde(
        default,
        deserialize_with = "few_labels",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub labels: BTreeSet<Label>,
    /// The manifest's own version.
    #[serde(default = "first_version")]
    pub version: String,
}

/// A field of a manifest that is out of bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {expected}")]
pub struct InvalidField {
    field: &'static str,
    expected: String,
}

impl Manifest {
    /// Checks what its types do not say: lengths, numbers and words.
    ///
    /// # Errors
    ///
    /// [`InvalidField`], which names the first field that is out of bounds.
    pub fn check(&self) -> Result<(), InvalidField> {
        let fail = |field, expected| Err(InvalidField { field, expected });
        let is_title = !self.name.trim().is_empty() && !self.name.contains(char::is_control);
        if !is_title || self.name.len() > MAX_NAME {
            return fail("name", format!("takes 1 to {MAX_NAME} bytes on one line"));
        }
        if self.description.len() > MAX_DESCRIPTION {
            return fail(
                "description",
                format!("takes at most {MAX_DESCRIPTION} bytes"),
            );
        }
        if !self.outputs.is_object() {
            return fail("outputs", "must be a JSON Schema, an object".to_owned());
        }
        words("required_scopes", self.required_scopes.iter())?;
        words("safety_tags", self.safety_tags.iter())?;
        // What is below nought would fill a budget up again.
        if self
            .cost_estimate
            .is_some_and(|cost| !(0.0..=MAX_COST).contains(&cost))
        {
            return fail(
                "cost_estimate",
                format!("must be a number from 0 to {MAX_COST}"),
            );
        }
        if self
            .latency_estimate_ms
            .is_some_and(|latency| latency > MAX_LATENCY_MS)
        {
            return fail(
                "latency_estimate_ms",
                format!("must be from 0 to {MAX_LATENCY_MS}, which is a week"),
            );
        }
        if self.examples.len() > MAX_EXAMPLES {
            return fail("examples", format!("takes at most {MAX_EXAMPLES}"));
        }
        let is_method = |method: &str| {
            (1..=MAX_METHOD).contains(&method.len())
                && method.bytes().all(|b| b.is_ascii_alphabetic())
        };
        if !self.http_method.as_deref().is_none_or(is_method) {
            return fail(
                "http_method",
                "must be a method of HTTP, such as POST".to_owned(),
            );
        }
        let is_route = |route: &str| route.len() <= MAX_ROUTE && !route.contains(char::is_control);
        if !self.route.as_deref().is_none_or(is_route) {
            return fail(
                "route",
                format!("takes at most {MAX_ROUTE} bytes on one line"),
            );
        }
        words("version", std::iter::once(&self.version))
    }
}

/// Rules compare words exactly: one with a space at its end would be none that a rule names.
fn words<'a>(
    field: &'static str,
    words: impl ExactSizeIterator<Item = &'a String>,
) -> Result<(), InvalidField> {
    let fail = |expected| Err(InvalidField { field, expected });
    if words.len() > MAX_WORDS {
        return fail(format!("takes at most {MAX_WORDS}"));
    }
    for word in words {
        let is_whole = !word.contains(|c: char| c.is_whitespace() || c.is_control());
        if !(1..=MAX_WORD).contains(&word.len()) || !is_whole {
            return fail(format!(
                "takes words of 1 to {MAX_WORD} bytes without spaces"
            ));
        }
    }
    Ok(())
}

fn few_labels<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeSet<Label>, D::Error> {
    let labels = BTreeSet::deserialize(deserializer)
        .map_err(|error| serde::de::Error::custom(format!("`labels`: {error}")))?;
    if labels.len() > MAX_LABELS {
        return Err(serde::de::Error::custom(format!(
            "`labels` takes at most {MAX_LABELS}"
        )));
    }
    Ok(labels)
}

fn any_object() -> Value {
    serde_json::json!({"type": "object"})
}

fn public_tenant() -> String {
    PUBLIC_TENANT.to_owned()
}

fn first_version() -> String {
    "1.0.0".to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(field: &str, value: Value) -> Result<(), String> {
        let mut manifest = json!({"toolId": "a:b", "name": "n", "description": "d", "inputs": {"type": "object"}, "provider_id": "a"});
        manifest[field] = value;
        let manifest: Manifest = serde_json::from_value(manifest).expect("a manifest");
        manifest.check().map_err(|error| error.to_string())
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn every_field_is_bounded() {
        let cases = [
            (
                "cost_estimate",
                json!(-1),
                "`cost_estimate` must be a number from 0 to 1000000000",
            ),
            (
                "cost_estimate",
                json!(1e308),
                "`cost_estimate` must be a number from 0 to 1000000000",
            ),
            (
                "latency_estimate_ms",
                json!(u64::MAX),
                "`latency_estimate_ms` must be from 0 to 604800000, which is a week",
            ),
            (
                "name",
                json!(" "),
                "`name` takes 1 to 256 bytes on one line",
            ),
            (
                "name",
                json!("a\u{1b}[2J"),
                "`name` takes 1 to 256 bytes on one line",
            ),
            (
                "description",
                json!("x".repeat(16_385)),
                "`description` takes at most 16384 bytes",
            ),
            (
                "outputs",
                json!(3),
                "`outputs` must be a JSON Schema, an object",
            ),
            (
                "required_scopes",
                json!(["a b"]),
                "`required_scopes` takes words of 1 to 256 bytes without spaces",
            ),
            (
                "required_scopes",
                json!(vec!["a"; 129]),
                "`required_scopes` takes at most 128",
            ),
            (
                "safety_tags",
                json!(["destructive "]),
                "`safety_tags` takes words of 1 to 256 bytes without spaces",
            ),
            (
                "safety_tags",
                json!([""]),
                "`safety_tags` takes words of 1 to 256 bytes without spaces",
            ),
            (
                "examples",
                json!(vec![json!({}); 65]),
                "`examples` takes at most 64",
            ),
            (
                "http_method",
                json!("GET /"),
                "`http_method` must be a method of HTTP, such as POST",
            ),
            (
                "route",
                json!("/a\n"),
                "`route` takes at most 2048 bytes on one line",
            ),
            (
                "version",
                json!(""),
                "`version` takes words of 1 to 256 bytes without spaces",
            ),
        ];
        for (field, value, expected) in cases {
            assert_eq!(
                with(field, value.clone()),
                Err(expected.to_owned()),
                "{value}"
            );
        }
        for (field, value) in [
            ("cost_estimate", json!(0)),
            ("cost_estimate", json!(1e9)),
            ("latency_estimate_ms", json!(604_800_000)),
            ("safety_tags", json!(["financial", "eu:gdpr"])),
            ("http_method", json!("POST")),
            ("version", json!("2.1.0-rc.1")),
        ] {
            assert_eq!(with(field, value), Ok(()));
        }
    }
}
