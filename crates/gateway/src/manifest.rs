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
