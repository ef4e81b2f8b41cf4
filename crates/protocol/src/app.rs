//! MCP Apps: tools that show something, and the documents that they show.
//!
//! A tool names a resource whose address begins with `ui://`; a host that knows the extension shows
//! it in a sandbox. What the two say to each other there never reaches the server.
//!
//! Source: SEP-1865, the extension `io.modelcontextprotocol/ui`.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    capability::ClientCapabilities,
    content::{JsonObject, Meta},
};

/// The extension's identifier.
pub const EXTENSION: &str = "io.modelcontextprotocol/ui";
/// The media type of the documents.
pub const MIME_TYPE: &str = "text/html;profile=mcp-app";
/// What the addresses of the documents begin with.
pub const SCHEME: &str = "ui://";
/// The member of `_meta`.
const KEY: &str = "ui";

/// `_meta.ui` of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ToolUi {
    /// The document that the tool shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_uri: Option<String>,
    /// Who may use the tool; both where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Vec<Audience>>,
}

/// Who may use a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// The model.
    Model,
    /// The document, from its sandbox.
    App,
}

impl ToolUi {
    /// A tool that shows the document at `resource_uri`.
    pub fn new(resource_uri: impl Into<String>) -> Self {
        Self {
            resource_uri: Some(resource_uri.into()),
            visibility: None,
        }
    }

    /// A tool for documents alone: models do not see it.
    #[must_use]
    pub fn app_only() -> Self {
        Self {
            resource_uri: None,
            visibility: Some(vec![Audience::App]),
        }
    }

    /// What `meta` says; nothing where it says nothing that can be read.
    #[must_use]
    pub fn of(meta: Option<&Meta>) -> Option<Self> {
        serde_json::from_value(meta?.get(KEY)?.clone()).ok()
    }

    /// Whether models must not see the tool.
    #[must_use]
    pub fn is_app_only(&self) -> bool {
        self.visibility
            .as_ref()
            .is_some_and(|to| !to.contains(&Audience::Model))
    }

    /// The member of `_meta`.
    #[must_use]
    pub fn into_meta(self) -> (&'static str, serde_json::Value) {
        (KEY, json!(self))
    }
}

/// `_meta.ui` of a document: what its sandbox allows and looks like. Nothing is allowed by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceUi {
    /// Whence the document may load and whither it may speak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csp: Option<Csp>,
    /// What of the user's machine it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// The origin of its sandbox, in the form that the host documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Whether the host shall draw a border around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefers_border: Option<bool>,
}

impl ResourceUi {
    /// The member of `_meta`.
    #[must_use]
    pub fn into_meta(self) -> (&'static str, serde_json::Value) {
        (KEY, json!(self))
    }
}

/// Origins, by what for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Csp {
    /// For requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect_domains: Vec<String>,
    /// For images, scripts, styles, fonts and media.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_domains: Vec<String>,
    /// For frames within.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frame_domains: Vec<String>,
    /// For the base of relative addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub base_uri_domains: Vec<String>,
}

/// What of the user's machine a document may use: an empty object where it may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Permissions {
    /// The camera.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<JsonObject>,
    /// The microphone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub microphone: Option<JsonObject>,
    /// The place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geolocation: Option<JsonObject>,
    /// Writing to the clipboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clipboard_write: Option<JsonObject>,
}

/// Whether a client shows documents of [`MIME_TYPE`].
#[must_use]
pub fn shows_apps(client: &ClientCapabilities) -> bool {
    let types = client
        .extensions
        .as_ref()
        .and_then(|all| all.get(EXTENSION)?.get("mimeTypes")?.as_array());
    types.is_some_and(|types| types.iter().any(|one| one == MIME_TYPE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_says_what_it_shows_and_to_whom() {
        let meta = |value| serde_json::from_value::<Meta>(value).unwrap();
        let shows = meta(json!({"ui": {"resourceUri": "ui://a/b", "csp": "ignored"}, "other": 1}));
        assert_eq!(ToolUi::of(Some(&shows)), Some(ToolUi::new("ui://a/b")));
        assert!(!ToolUi::new("ui://a/b").is_app_only());
        assert!(ToolUi::app_only().is_app_only());
        for nothing in [
            json!({}),
            json!({"ui": 1}),
            json!({"ui": {"visibility": ["all"]}}),
        ] {
            assert_eq!(ToolUi::of(Some(&meta(nothing))), None);
        }
        let (key, value) = ToolUi::app_only().into_meta();
        assert_eq!((key, value), ("ui", json!({"visibility": ["app"]})));
    }

    #[test]
    fn a_document_is_allowed_nothing_by_default() {
        assert_eq!(ResourceUi::default().into_meta().1, json!({}));
        let ui = ResourceUi {
            csp: Some(Csp {
                connect_domains: vec!["https://api.example".to_owned()],
                ..Csp::default()
            }),
            permissions: Some(Permissions {
                clipboard_write: Some(JsonObject::new()),
                ..Permissions::default()
            }),
            prefers_border: Some(true),
            ..ResourceUi::default()
        };
        assert_eq!(
            ui.into_meta().1,
            json!({"csp": {"connectDomains": ["https://api.example"]}, "permissions": {"clipboardWrite": {}}, "prefersBorder": true})
        );
    }

    #[test]
    fn a_client_names_the_types_that_it_shows() {
        let shows = |text: &str| shows_apps(&serde_json::from_str(text).unwrap());
        assert!(shows(
            r#"{"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["text/html;profile=mcp-app"]}}}"#
        ));
        for no in [
            "{}",
            r#"{"extensions":{"io.modelcontextprotocol/ui":{}}}"#,
            r#"{"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["text/html"]}}}"#,
        ] {
            assert!(!shows(no), "{no}");
        }
    }
}
