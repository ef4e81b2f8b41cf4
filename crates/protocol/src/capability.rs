//! What clients and servers declare that they can do.
//!
//! Source: MCP 2026-07-28, schema, `ClientCapabilities` and `ServerCapabilities`. Neither is a closed
//! set: members that are not known here are ignored.

use serde::{Deserialize, Serialize};

use crate::{content::JsonObject, raw::from_optional_object};

/// What a client can do; sent with every modern request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ClientCapabilities {
    /// Asks the user.
    #[serde(
        deserialize_with = "from_optional_object",
        skip_serializing_if = "Option::is_none"
    )]
    pub elicitation: Option<ElicitationCapability>,
    /// Runs its model.
    #[serde(
        deserialize_with = "from_optional_object",
        skip_serializing_if = "Option::is_none"
    )]
    pub sampling: Option<SamplingCapability>,
    /// Names the folders it works in.
    #[serde(
        deserialize_with = "from_optional_object",
        skip_serializing_if = "Option::is_none"
    )]
    pub roots: Option<RootsCapability>,
    /// Extensions by identifier, with their settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<JsonObject>,
    /// Capabilities outside the standard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experimental: Option<JsonObject>,
}

/// How a client asks its user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ElicitationCapability {
    /// By a form. Also meant where neither mode is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<JsonObject>,
    /// By sending the user to an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<JsonObject>,
}

impl ElicitationCapability {
    /// Both modes.
    #[must_use]
    pub fn form_and_url() -> Self {
        Self {
            form: Some(JsonObject::new()),
            url: Some(JsonObject::new()),
        }
    }

    /// Whether forms are shown. Source: MCP 2026-07-28, client/elicitation, "Capabilities".
    #[must_use]
    pub const fn has_form(&self) -> bool {
        self.form.is_some() || self.url.is_none()
    }

    /// Whether addresses are opened.
    #[must_use]
    pub const fn has_url(&self) -> bool {
        self.url.is_some()
    }
}

/// How a client runs its model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct SamplingCapability {
    /// Puts the context of servers into the prompt. Deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<JsonObject>,
    /// Lets the model use tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<JsonObject>,
}

/// How a client tells its roots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RootsCapability {
    /// Says when they change. Legacy only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_changed: Option<bool>,
}

impl ClientCapabilities {
    /// Whether forms are shown.
    #[must_use]
    pub fn has_form(&self) -> bool {
        self.elicitation
            .as_ref()
            .is_some_and(ElicitationCapability::has_form)
    }

    /// Whether addresses are opened.
    #[must_use]
    pub fn has_url(&self) -> bool {
        self.elicitation
            .as_ref()
            .is_some_and(ElicitationCapability::has_url)
    }

    /// Whether the extension `id` is declared.
    #[must_use]
    pub fn has_extension(&self, id: &str) -> bool {
        self.extensions
            .as_ref()
            .is_some_and(|all| all.contains_key(id))
    }
}

/// What a server can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct ServerCapabilities {
    /// Offers tools.
    #[serde(
        deserialize_with = "from_optional_object",
        skip_serializing_if = "Option::is_none"
    )]
    pub tools: Option<ListCapability>,
    /// Offers resources.
    #[serde(
        deserialize_with = "from_optional_object",
        skip_serializing_if = "Option::is_none"
    )]
    pub resources: Option<ResourcesCapability>,
    /// Offers prompts.
    #[serde(
        deserialize_with = "from_optional_object",
        skip_serializing_if = "Option::is_none"
    )]
    pub prompts: Option<ListCapability>,
    /// Completes arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completions: Option<JsonObject>,
    /// Sends log messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logging: Option<JsonObject>,
    /// Runs tools as tasks. Legacy only: of 2025-11-25.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<JsonObject>,
    /// Extensions by identifier, with their settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<JsonObject>,
    /// Capabilities outside the standard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experimental: Option<JsonObject>,
}

/// What a server can do with a list of tools or prompts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListCapability {
    /// Says when the list changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_changed: Option<bool>,
}

impl ListCapability {
    /// A list that may change, and says so.
    #[must_use]
    pub const fn changing() -> Self {
        Self {
            list_changed: Some(true),
        }
    }
}

/// What a server can do with resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourcesCapability {
    /// Says when a resource changes that is subscribed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<bool>,
    /// Says when the list changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_changed: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> ClientCapabilities {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn empty_elicitation_means_forms() {
        assert!(client(r#"{"elicitation":{}}"#).has_form());
        assert!(!client(r#"{"elicitation":{}}"#).has_url());
        assert!(!client(r#"{"elicitation":{"url":{}}}"#).has_form());
        assert!(!client("{}").has_form());
    }

    #[test]
    fn empty_capabilities_stay_present() {
        let text = r#"{"sampling":{"tools":{}},"roots":{},"extensions":{"io.x/y":{"a":1}}}"#;
        let capabilities = client(text);
        assert_eq!(serde_json::to_string(&capabilities).unwrap(), text);
        assert!(capabilities.has_extension("io.x/y"));
    }

    #[test]
    fn capabilities_are_objects() {
        for text in [
            r#"{"sampling":true}"#,
            r#"{"sampling":[]}"#,
            r#"{"elicitation":{"url":1}}"#,
            r#"{"extensions":[]}"#,
        ] {
            assert!(
                serde_json::from_str::<ClientCapabilities>(text).is_err(),
                "{text}"
            );
        }
        assert!(serde_json::from_str::<ServerCapabilities>(r#"{"tools":[]}"#).is_err());
    }
}
