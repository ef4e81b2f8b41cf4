//! Where tokens are to be had: the metadata of the resource, then that of its authorization server.
//!
//! Source: RFC 9728, section 3; RFC 8414, section 3; OpenID Connect Discovery 1.0, section 4; MCP 2026-07-28,
//! basic/authorization/authorization-server-discovery.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{OAuthError, quoted};
use super::identifier::{self, split_origin};
use super::network::Network;
use super::scope::Scopes;
use crate::metadata::WELL_KNOWN;

/// How documents are called in messages.
const RESOURCE: &str = "the resource metadata";
const SERVER: &str = "the metadata of the authorization server";

/// The most entries of a list in a document.
const MAX_LIST: usize = 256;

/// The most authorization servers of one resource.
const MAX_SERVERS: usize = 16;

/// What a protected resource says about itself (RFC 9728, section 2): the members that mean something here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ResourceDescription {
    /// Its identifier, to be sent as `resource` as it is.
    pub resource: String,
    /// The issuers of its tokens.
    #[serde(default)]
    pub authorization_servers: Vec<String>,
    /// The scopes that it knows.
    pub scopes_supported: Option<Vec<String>>,
}

impl ResourceDescription {
    /// Finds what describes the server at `server_url`: at the URL that it named, or else at the well-known ones, that
    /// of its path before that of its host.
    pub(crate) async fn find(
        network: &Network,
        server_url: &str,
        named: Option<&str>,
    ) -> Result<Self, OAuthError> {
        let urls = match named {
            Some(url) => vec![url.to_owned()],
            None => well_known_resource(server_url),
        };
        let mut unreadable = None;
        for url in &urls {
            let Some(bytes) = network.document(RESOURCE, url).await? else {
                continue;
            };
            match read::<Self>(RESOURCE, url, &bytes) {
                Ok(found) => {
                    found.check(url, server_url)?;
                    return Ok(found);
                }
                // Some hosts answer every path with a page.
                Err(error) => unreadable = unreadable.or(Some(error)),
            }
        }
        Err(unreadable.unwrap_or(OAuthError::NoResourceMetadata { tried: urls }))
    }

    fn check(&self, url: &str, server_url: &str) -> Result<(), OAuthError> {
        if !identifier::covers(&self.resource, server_url) {
            return Err(OAuthError::ResourceMismatch {
                url: url.to_owned(),
                resource: quoted(&self.resource),
                server: server_url.to_owned(),
            });
        }
        let unfit = |reason: String| OAuthError::Document {
            what: RESOURCE,
            url: url.to_owned(),
            reason,
        };
        if self.authorization_servers.is_empty() {
            return Err(unfit("`authorization_servers` names none".to_owned()));
        }
        if self.authorization_servers.len() > MAX_SERVERS {
            return Err(unfit(format!(
                "`authorization_servers` names more than {MAX_SERVERS}"
            )));
        }
        for issuer in &self.authorization_servers {
            identifier::issuer(issuer).map_err(|problem| {
                unfit(format!(
                    "`authorization_servers`: `{}` {problem}",
                    quoted(issuer)
                ))
            })?;
        }
        Ok(())
    }

    /// The scopes that it knows.
    pub(crate) fn scopes(&self) -> Scopes {
        let scopes = self.scopes_supported.iter().flatten();
        scopes.map(String::as_str).collect()
    }
}

/// Where the description of a server may be, in the order to look.
fn well_known_resource(server_url: &str) -> Vec<String> {
    let server_url = server_url
        .split_once('#')
        .map_or(server_url, |(url, _)| url);
    let (origin, rest) = split_origin(server_url);
    let (path, query) = match rest.find('?') {
        Some(at) => rest.split_at_checked(at).unwrap_or((rest, "")),
        None => (rest, ""),
    };
    let root = format!("{origin}{WELL_KNOWN}");
    // A lone `/` after the host is dropped (RFC 9728, section 3.1).
    if path.is_empty() || path == "/" {
        let mut urls = vec![format!("{root}{query}"), root];
        urls.dedup();
        return urls;
    }
    vec![format!("{root}{path}{query}"), root]
}

/// What an authorization server says about itself: the members that mean something here.
///
/// Source: RFC 8414, section 2; RFC 9207, section 3; RFC 9449, section 5.1; OAuth Client ID Metadata Document.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServerMetadata {
    /// Its identifier.
    pub issuer: String,
    /// Where a person is sent.
    pub authorization_endpoint: Option<String>,
    /// Where tokens are requested.
    pub token_endpoint: Option<String>,
    /// Where clients register themselves.
    pub registration_endpoint: Option<String>,
    /// Where tokens are taken back (RFC 7009).
    pub revocation_endpoint: Option<String>,
    /// The scopes that it knows.
    pub scopes_supported: Option<Vec<String>>,
    /// The grants that it takes; if absent, codes alone.
    pub grant_types_supported: Option<Vec<String>>,
    /// How clients may prove themselves at the token endpoint; if absent, with HTTP Basic alone.
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// How it checks that a code is redeemed by who asked for it.
    pub code_challenge_methods_supported: Option<Vec<String>>,
    /// Whether its answers name it.
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
    /// Whether a client id may be the URL of a metadata document.
    #[serde(default)]
    pub client_id_metadata_document_supported: bool,
    /// The algorithms of proofs that it takes, if it binds tokens to keys.
    pub dpop_signing_alg_values_supported: Option<Vec<String>>,
}

impl ServerMetadata {
    /// Finds the metadata of `issuer`. An issuer with a path never gets that of its host.
    pub(crate) async fn find(network: &Network, issuer: &str) -> Result<Self, OAuthError> {
        let urls = well_known_server(issuer);
        let mut unfit = None;
        for url in &urls {
            let Some(bytes) = network.document(SERVER, url).await? else {
                continue;
            };
            match read::<Self>(SERVER, url, &bytes) {
                // As texts: what differs by a slash differs (RFC 8414, section 3.3).
                Ok(found) if found.issuer == issuer => {
                    found.check(network, url)?;
                    return Ok(found);
                }
                Ok(found) => {
                    unfit = unfit.or(Some(OAuthError::IssuerMismatch {
                        url: url.clone(),
                        expected: issuer.to_owned(),
                        found: quoted(&found.issuer),
                    }));
                }
                Err(error) => unfit = unfit.or(Some(error)),
            }
        }
        Err(unfit.unwrap_or_else(|| OAuthError::NoServerMetadata {
            issuer: issuer.to_owned(),
            tried: urls,
        }))
    }

    /// What is known of a server of which nothing but the token endpoint is.
    pub(crate) fn of_token_endpoint(url: &str) -> Self {
        Self {
            issuer: url.to_owned(),
            authorization_endpoint: None,
            token_endpoint: Some(url.to_owned()),
            registration_endpoint: None,
            revocation_endpoint: None,
            scopes_supported: None,
            grant_types_supported: None,
            token_endpoint_auth_methods_supported: None,
            code_challenge_methods_supported: None,
            authorization_response_iss_parameter_supported: false,
            client_id_metadata_document_supported: false,
            dpop_signing_alg_values_supported: None,
        }
    }

    fn check(&self, network: &Network, url: &str) -> Result<(), OAuthError> {
        let endpoints = [
            ("authorization_endpoint", &self.authorization_endpoint),
            ("token_endpoint", &self.token_endpoint),
            ("registration_endpoint", &self.registration_endpoint),
            ("revocation_endpoint", &self.revocation_endpoint),
        ];
        for (field, endpoint) in endpoints {
            let Some(endpoint) = endpoint else {
                continue;
            };
            let unfit = |problem: String| OAuthError::Document {
                what: SERVER,
                url: url.to_owned(),
                reason: format!("`{field}`: `{}` {problem}", quoted(endpoint)),
            };
            let parsed = identifier::resource(endpoint).map_err(|e| unfit(e.to_owned()))?;
            let refused = network.check(&parsed).err();
            if let Some(refusal) = refused {
                return Err(unfit(format!("may not be used: {refusal}")));
            }
        }
        Ok(())
    }

    /// Where tokens are requested.
    pub(crate) fn token_endpoint(&self) -> Result<&str, OAuthError> {
        self.endpoint(self.token_endpoint.as_deref(), "token_endpoint")
    }

    /// Where a person is sent; only if it checks that a code is redeemed by who asked for it.
    pub(crate) fn authorization_endpoint(&self) -> Result<&str, OAuthError> {
        let methods = self.code_challenge_methods_supported.as_deref();
        if !methods.is_some_and(|methods| has(methods, "S256")) {
            return Err(OAuthError::NoPkce {
                issuer: self.issuer.clone(),
            });
        }
        let endpoint = self.authorization_endpoint.as_deref();
        self.endpoint(endpoint, "authorization_endpoint")
    }

    fn endpoint<'a>(&self, endpoint: Option<&'a str>, name: &str) -> Result<&'a str, OAuthError> {
        endpoint.ok_or_else(|| self.lacks(format!("announces no `{name}`")))
    }

    pub(crate) fn lacks(&self, lacks: String) -> OAuthError {
        OAuthError::Unsupported {
            issuer: self.issuer.clone(),
            lacks,
        }
    }

    /// Whether it says that it knows `scope`.
    pub(crate) fn lists_scope(&self, scope: &str) -> bool {
        let scopes = self.scopes_supported.as_deref();
        scopes.is_some_and(|scopes| has(scopes, scope))
    }

    /// Whether it gives refresh tokens, as far as it says.
    pub(crate) fn refreshes(&self) -> bool {
        let grants = self.grant_types_supported.as_deref();
        grants.is_none_or(|grants| has(grants, "refresh_token"))
    }

    /// Whether it binds tokens to keys like ours.
    pub(crate) fn binds_tokens(&self) -> bool {
        let algorithms = self.dpop_signing_alg_values_supported.as_deref();
        algorithms.is_some_and(|algorithms| has(algorithms, "ES256"))
    }

    /// Whether clients may prove themselves by `method`; `None` if it does not say.
    pub(crate) fn takes_method(&self, method: &str) -> Option<bool> {
        let methods = self.token_endpoint_auth_methods_supported.as_deref();
        methods.map(|methods| has(methods, method))
    }
}

fn has(list: &[String], value: &str) -> bool {
    list.iter().take(MAX_LIST).any(|held| held == value)
}

/// Where the metadata of an issuer may be, in the order to look.
pub(crate) fn well_known_server(issuer: &str) -> Vec<String> {
    let (origin, path) = split_origin(issuer);
    // A final `/` is removed before anything is inserted or appended (RFC 8414, section 3.1).
    let path = path.strip_suffix('/').unwrap_or(path);
    let inserted = |suffix: &str| format!("{origin}/.well-known/{suffix}{path}");
    let mut urls = vec![
        inserted("oauth-authorization-server"),
        inserted("openid-configuration"),
    ];
    if !path.is_empty() {
        urls.push(format!("{origin}{path}/.well-known/openid-configuration"));
    }
    urls
}

/// Reads a document; a member of the wrong type is named.
fn read<T: DeserializeOwned>(what: &'static str, url: &str, bytes: &[u8]) -> Result<T, OAuthError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut json).map_err(|error| OAuthError::Document {
        what,
        url: url.to_owned(),
        reason: match error.path().to_string().as_str() {
            "." | "" => quoted(&error.inner().to_string()),
            path => format!("`{}`: {}", quoted(path), quoted(&error.inner().to_string())),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_server_is_described() {
        for (server, urls) in [
            (
                "https://h/public/mcp",
                &[
                    "https://h/.well-known/oauth-protected-resource/public/mcp",
                    "https://h/.well-known/oauth-protected-resource",
                ][..],
            ),
            (
                "https://h",
                &["https://h/.well-known/oauth-protected-resource"],
            ),
            (
                "https://h/",
                &["https://h/.well-known/oauth-protected-resource"],
            ),
            (
                "https://h:8443/mcp/?t=a/b#x",
                &[
                    "https://h:8443/.well-known/oauth-protected-resource/mcp/?t=a/b",
                    "https://h:8443/.well-known/oauth-protected-resource",
                ],
            ),
            (
                "https://h?t=1",
                &[
                    "https://h/.well-known/oauth-protected-resource?t=1",
                    "https://h/.well-known/oauth-protected-resource",
                ],
            ),
        ] {
            assert_eq!(well_known_resource(server), urls, "{server}");
        }
    }

    #[test]
    fn where_an_issuer_is_described() {
        for (issuer, urls) in [
            (
                "https://auth.example.com/tenant1",
                &[
                    "https://auth.example.com/.well-known/oauth-authorization-server/tenant1",
                    "https://auth.example.com/.well-known/openid-configuration/tenant1",
                    "https://auth.example.com/tenant1/.well-known/openid-configuration",
                ][..],
            ),
            (
                "https://auth.example.com",
                &[
                    "https://auth.example.com/.well-known/oauth-authorization-server",
                    "https://auth.example.com/.well-known/openid-configuration",
                ],
            ),
            (
                "https://auth.example.com/",
                &[
                    "https://auth.example.com/.well-known/oauth-authorization-server",
                    "https://auth.example.com/.well-known/openid-configuration",
                ],
            ),
        ] {
            assert_eq!(well_known_server(issuer), urls, "{issuer}");
        }
    }

    #[test]
    fn a_member_of_the_wrong_type_is_named() {
        let document = br#"{"issuer": "https://h", "scopes_supported": ["a", 1]}"#;
        let error = read::<ServerMetadata>(SERVER, "https://h/x", document).unwrap_err();
        assert!(
            error.to_string().contains("`scopes_supported[1]`"),
            "{error}"
        );
        let error = read::<ServerMetadata>(SERVER, "https://h/x", b"{}").unwrap_err();
        assert!(error.to_string().contains("issuer"), "{error}");
        assert!(read::<ServerMetadata>(SERVER, "https://h/x", b"<html>").is_err());
    }
}
