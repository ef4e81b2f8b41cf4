//! Resources: definitions, templates and reading them.
//!
//! Source: MCP 2026-07-28, server/resources.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{
    content::{Annotations, Icon, Meta, ResourceContents},
    error::{ErrorCode, RpcError},
    mrtr::{InputResponses, optional_responses},
    raw,
};

/// The definition of a resource.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// The URI that reads it.
    pub uri: String,
    /// The name.
    pub name: String,
    /// The name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// The size in bytes, before any encoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Icons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icons: Option<Vec<Icon>>,
    /// Hints for the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl Resource {
    /// The resource `name` at `uri`.
    pub fn new(uri: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            name: name.into(),
            ..Self::default()
        }
    }
}

/// The definition of resources whose URIs share a form.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceTemplate {
    /// The form of the URIs. Source: RFC 6570.
    pub uri_template: String,
    /// The name.
    pub name: String,
    /// The name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What they hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The media type, where all of them share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Icons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icons: Option<Vec<Icon>>,
    /// Hints for the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl ResourceTemplate {
    /// The template `name` of the form `uri_template`.
    pub fn new(uri_template: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            uri_template: uri_template.into(),
            name: name.into(),
            ..Self::default()
        }
    }
}

/// The result of `resources/list`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListResourcesResult {
    /// The resources of this page.
    pub resources: Vec<Resource>,
    /// Where the next page starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// The result of `resources/templates/list`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListResourceTemplatesResult {
    /// The templates of this page.
    pub resource_templates: Vec<ResourceTemplate>,
    /// Where the next page starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// The parameters of `resources/read`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadResourceParams<'a> {
    /// The resource's URI.
    #[serde(borrow)]
    pub uri: Cow<'a, str>,
    /// Answers to what an earlier round asked.
    #[serde(
        default,
        deserialize_with = "optional_responses",
        skip_serializing_if = "Option::is_none"
    )]
    pub input_responses: Option<InputResponses>,
    /// The state that an earlier round handed out, unchanged.
    #[serde(
        default,
        borrow,
        deserialize_with = "raw::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_state: Option<Cow<'a, str>>,
}

/// The result of `resources/read`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct ReadResourceResult {
    /// The contents; several where the resource has parts. Never empty: what is not there is [`not_found`].
    pub contents: Vec<ResourceContents>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl ReadResourceResult {
    /// One piece of contents.
    #[must_use]
    pub fn new(contents: ResourceContents) -> Self {
        Self {
            contents: vec![contents],
            meta: None,
        }
    }
}

/// The parameters of the legacy `resources/subscribe` and `resources/unsubscribe`.
///
/// Source: MCP 2025-11-25, server/resources, "Subscriptions".
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SubscribeParams<'a> {
    /// The resource's URI.
    #[serde(borrow)]
    pub uri: Cow<'a, str>,
}

/// The error for a resource that does not exist or must not be known to.
///
/// Source: MCP 2026-07-28, server/resources, "Error Handling".
#[must_use]
pub fn not_found(uri: &str) -> RpcError {
    RpcError::new(ErrorCode::INVALID_PARAMS, "resource not found")
        .with_data(serde_json::json!({ "uri": uri }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::Raw;

    #[test]
    fn read_params_borrow_the_uri() {
        let raw = Raw::parse(r#"{"uri":"file:///a","_meta":{}}"#).unwrap();
        let params: ReadResourceParams<'_> = Raw::decode_params(Some(&raw)).unwrap();
        assert!(matches!(params.uri, Cow::Borrowed("file:///a")));
        assert_eq!(params.input_responses, None);
    }

    #[test]
    fn not_found_names_the_uri() {
        let error = not_found("a:b");
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"code":-32602,"message":"resource not found","data":{"uri":"a:b"}}"#
        );
    }
}
