//! The document that tells clients where to get tokens for this server.
//!
//! Source: RFC 9728 (OAuth 2.0 Protected Resource Metadata); MCP 2026-07-28, basic/authorization, "Authorization Server
//! Location".

use serde::Serialize;

use crate::challenge::checked_scopes;
use crate::endpoint;
use crate::error::ConfigError;

/// The well-known path, before the path of the resource is appended.
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The metadata of one protected resource.
///
/// Identifiers are opaque texts and leave as they came in: a round trip through a URL parser would add a `/` to
/// `https://mcp.example`, and clients compare them exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResourceMetadata {
    resource: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authorization_servers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes_supported: Vec<String>,
    bearer_methods_supported: [&'static str; 1],
    #[serde(skip_serializing_if = "is_false")]
    tls_client_certificate_bound_access_tokens: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_documentation: Option<String>,
}

impl ResourceMetadata {
    /// The metadata of the server at `resource`, whose tokens come from `authorization_servers`.
    ///
    /// # Errors
    /// If a URL is neither `https` nor `http` to this machine, or there is no authorization server.
    pub fn new<S: Into<String>>(
        resource: &str,
        authorization_servers: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        let servers: Vec<String> = authorization_servers.into_iter().map(Into::into).collect();
        let metadata = Self::without_servers(resource)?;
        ConfigError::unless_empty("authorization_servers", servers.is_empty())?;
        for server in &servers {
            endpoint::parse("authorization_servers", server)?;
        }
        Ok(Self {
            authorization_servers: servers,
            ..metadata
        })
    }

    /// The metadata of the server at `resource`, whose tokens are handed out in another way than by an authorization server.
    ///
    /// # Errors
    /// If the URL is neither `https` nor `http` to this machine.
    pub fn without_servers(resource: &str) -> Result<Self, ConfigError> {
        endpoint::parse("resource", resource)?;
        Ok(Self {
            resource: resource.to_owned(),
            authorization_servers: Vec::new(),
            scopes_supported: Vec::new(),
            bearer_methods_supported: ["header"],
            tls_client_certificate_bound_access_tokens: false,
            resource_name: None,
            resource_documentation: None,
        })
    }

    /// Names those of `issuers` that can be authorization servers, and no others: an issuer whose tokens are accepted may
    /// be a mere name, which no client can ask for anything. Each is named once.
    ///
    /// Source: RFC 8414, section 2, "issuer": `https`, without query and fragment.
    #[must_use]
    pub fn with_issuers<'a>(mut self, issuers: impl IntoIterator<Item = &'a str>) -> Self {
        self.authorization_servers.clear();
        for issuer in issuers {
            let can_be_asked = endpoint::parse("authorization_servers", issuer)
                .is_ok_and(|url| url.query().is_none());
            let is_new = self.authorization_servers.iter().all(|it| it != issuer);
            if can_be_asked && is_new {
                self.authorization_servers.push(issuer.to_owned());
            }
        }
        self
    }

    /// Says whether tokens may be bound to the certificate that a client shows (RFC 8705, section 3). Default no.
    #[must_use]
    pub const fn with_certificate_bound_tokens(mut self, bound: bool) -> Self {
        self.tls_client_certificate_bound_access_tokens = bound;
        self
    }

    /// Names the scopes that tokens for this server may carry.
    ///
    /// # Errors
    /// If one is not a scope, or is `offline_access`.
    pub fn with_scopes<S: Into<String>>(
        mut self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        self.scopes_supported = checked_scopes("scopes_supported", scopes)?;
        Ok(self)
    }

    /// Names the server as people know it.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.resource_name = Some(name.into());
        self
    }

    /// Names a page that tells developers about the server.
    ///
    /// # Errors
    /// If it is neither `https` nor `http` to this machine.
    pub fn with_documentation(mut self, url: &str) -> Result<Self, ConfigError> {
        endpoint::parse("resource_documentation", url)?;
        self.resource_documentation = Some(url.to_owned());
        Ok(self)
    }

    /// The resource that this is about.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The document, to be served as `application/json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Texts and lists of texts always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The path to serve the document at: `/.well-known/oauth-protected-resource`, then the path of the resource.
    ///
    /// Source: RFC 9728, section 3.1: a lone `/` after the host is dropped; other paths and queries are kept.
    #[must_use]
    pub fn path(&self) -> String {
        let (_, rest) = split_origin(&self.resource);
        let path = rest.split_once('?').map_or(rest, |(path, _)| path);
        format!("{WELL_KNOWN}{}", if path == "/" { "" } else { path })
    }

    /// The URL of the document, as challenges name it.
    #[must_use]
    pub fn url(&self) -> String {
        let (origin, rest) = split_origin(&self.resource);
        let query = rest.find('?').and_then(|at| rest.get(at..));
        format!("{origin}{}{}", self.path(), query.unwrap_or_default())
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Splits `https://host:port/path?query` before the path or the query.
fn split_origin(resource: &str) -> (&str, &str) {
    let host_at = resource.find("://").map_or(0, |at| at + 3);
    let host_and_rest = resource.get(host_at..).unwrap_or_default();
    let end = host_and_rest.find(['/', '?']);
    resource.split_at(end.map_or(resource.len(), |end| host_at + end))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const IDP: [&str; 1] = ["https://idp.example"];

    #[test]
    fn the_path_rule() {
        for (resource, path, url) in [
            (
                "https://mcp.example",
                WELL_KNOWN,
                "https://mcp.example/.well-known/oauth-protected-resource",
            ),
            (
                "https://mcp.example/",
                WELL_KNOWN,
                "https://mcp.example/.well-known/oauth-protected-resource",
            ),
            (
                "https://mcp.example/mcp",
                "/.well-known/oauth-protected-resource/mcp",
                "https://mcp.example/.well-known/oauth-protected-resource/mcp",
            ),
            (
                "http://127.0.0.1:8000/a/b/",
                "/.well-known/oauth-protected-resource/a/b/",
                "http://127.0.0.1:8000/.well-known/oauth-protected-resource/a/b/",
            ),
            (
                "https://h/p?tenant=a/b",
                "/.well-known/oauth-protected-resource/p",
                "https://h/.well-known/oauth-protected-resource/p?tenant=a/b",
            ),
            (
                "https://h?x=1",
                WELL_KNOWN,
                "https://h/.well-known/oauth-protected-resource?x=1",
            ),
            (
                "http://[::1]:9/mcp",
                "/.well-known/oauth-protected-resource/mcp",
                "http://[::1]:9/.well-known/oauth-protected-resource/mcp",
            ),
        ] {
            let metadata = ResourceMetadata::new(resource, IDP).unwrap();
            assert_eq!(metadata.path(), path, "{resource}");
            assert_eq!(metadata.url(), url, "{resource}");
        }
    }

    #[test]
    fn identifiers_leave_as_they_came() {
        let metadata = ResourceMetadata::new("https://MCP.example", IDP)
            .and_then(|m| m.with_scopes(["mcp.read"]))
            .and_then(|m| m.with_documentation("https://mcp.example/docs"))
            .unwrap()
            .with_name("Tools");
        let document: Value = serde_json::from_str(&metadata.to_json()).unwrap();
        assert_eq!(
            document,
            json!({
                "resource": "https://MCP.example",
                "authorization_servers": ["https://idp.example"],
                "scopes_supported": ["mcp.read"],
                "bearer_methods_supported": ["header"],
                "resource_name": "Tools",
                "resource_documentation": "https://mcp.example/docs",
            })
        );
    }

    #[test]
    fn what_is_absent_is_left_out() {
        let metadata = ResourceMetadata::new("https://h/mcp", IDP).unwrap();
        let document: Value = serde_json::from_str(&metadata.to_json()).unwrap();
        assert_eq!(document.as_object().unwrap().len(), 3);
    }

    #[test]
    fn issuers_are_named_that_can_be_asked_for_tokens() {
        let metadata = ResourceMetadata::without_servers("https://h/mcp").unwrap();
        let bare: Value = serde_json::from_str(&metadata.to_json()).unwrap();
        // RFC 9728, section 3.2: what has no elements is left out.
        assert_eq!(
            bare,
            json!({"resource": "https://h/mcp", "bearer_methods_supported": ["header"]})
        );
        let issuers = [
            "https://idp.example/t1",
            "accounts.example",
            "http://127.0.0.1:9/idp",
            "http://idp.example",
            "https://idp.example?tenant=a",
            "https://idp.example/t1",
        ];
        let metadata = metadata
            .with_issuers(issuers)
            .with_certificate_bound_tokens(true);
        let document: Value = serde_json::from_str(&metadata.to_json()).unwrap();
        assert_eq!(
            document,
            json!({
                "resource": "https://h/mcp",
                "authorization_servers": ["https://idp.example/t1", "http://127.0.0.1:9/idp"],
                "bearer_methods_supported": ["header"],
                "tls_client_certificate_bound_access_tokens": true,
            })
        );
        assert!(ResourceMetadata::without_servers("http://h.example").is_err());
    }

    #[test]
    fn the_configuration_is_checked() {
        let none: [&str; 0] = [];
        assert!(ResourceMetadata::new("https://h", none).is_err());
        assert!(ResourceMetadata::new("https://h/#x", IDP).is_err());
        assert!(ResourceMetadata::new("http://h.example", IDP).is_err());
        assert!(ResourceMetadata::new("https://h", ["idp"]).is_err());
        let metadata = ResourceMetadata::new("https://h", IDP).unwrap();
        assert!(metadata.with_scopes(["offline_access"]).is_err());
    }
}
