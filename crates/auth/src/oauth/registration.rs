//! Which client asks: one that was registered before, one that a document describes, or one registered on the spot.
//!
//! Source: MCP 2026-07-28, basic/authorization/client-registration; RFC 7591; OpenID Connect Dynamic Client Registration
//! 1.0, section 2 (`application_type`); OAuth Client ID Metadata Document.

use std::sync::Arc;

use bytes::Bytes;
use fastmcp_guard::clock::Timestamp;
use http::{HeaderMap, HeaderValue, header};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Host;

use super::assertion::AssertionKey;
use super::config::OAuthConfig;
use super::discovery::ServerMetadata;
use super::error::{OAuthError, ServerSays};
use super::identifier;
use super::network::Network;
use crate::error::ConfigError;

/// Longest client id or secret that is taken, in bytes.
const MAX_BYTES: usize = 4 * 1024;

/// A client that was registered with an authorization server before.
#[derive(Clone, Debug)]
pub struct RegisteredClient {
    pub(crate) issuer: Option<String>,
    pub(crate) client_id: String,
    pub(crate) proof: Proof,
}

impl RegisteredClient {
    /// The client `client_id` of the authorization server `issuer`. A server that names another one is refused, so that
    /// nobody else gets the client's secret.
    #[must_use]
    pub fn new(issuer: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            issuer: Some(issuer.into()),
            ..Self::of_any_issuer(client_id)
        }
    }

    /// The client `client_id` of whichever authorization server the MCP server names. Whoever runs the MCP server can
    /// have the client's secret sent to a place of their choice: trust them, or name the issuer.
    #[must_use]
    pub fn of_any_issuer(client_id: impl Into<String>) -> Self {
        Self {
            issuer: None,
            client_id: client_id.into(),
            proof: Proof::None,
        }
    }

    /// Proves itself with a secret.
    #[must_use]
    pub fn with_secret(mut self, secret: SecretString) -> Self {
        self.proof = Proof::Secret(secret);
        self
    }

    /// Proves itself with a key (`private_key_jwt`).
    #[must_use]
    pub fn with_key(mut self, key: Arc<AssertionKey>) -> Self {
        self.proof = Proof::Key(key);
        self
    }
}

/// How a client proves who it is.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    None,
    Secret(SecretString),
    Key(Arc<AssertionKey>),
}

/// How a client became one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// It was registered before.
    Registered,
    /// A document describes it.
    Document,
    /// It registered itself.
    Dynamic,
}

/// A client of one authorization server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) proof: Proof,
    /// How it said that it would prove itself, if it said so.
    pub(crate) method: Option<String>,
    pub(crate) origin: Origin,
    /// Where answers to it are sent, if it registered itself.
    pub(crate) redirect_uri: Option<String>,
    /// From when on its secret is no longer good.
    pub(crate) secret_expires_at: Option<Timestamp>,
}

impl Client {
    fn new(id: String, proof: Proof, origin: Origin) -> Self {
        Self {
            id,
            proof,
            method: None,
            origin,
            redirect_uri: None,
            secret_expires_at: None,
        }
    }

    /// Whether it can still be used at `now` with answers to `redirect_uri`.
    pub(crate) fn serves(&self, redirect_uri: &str, now: Timestamp) -> bool {
        self.redirect_uri.as_deref() == Some(redirect_uri)
            && self.secret_expires_at.is_none_or(|end| now < end)
    }
}

/// Picks the authorization server to use out of those that the server names, by the clients that are registered.
pub(crate) fn choose<'a>(
    config: &OAuthConfig,
    offered: &'a [String],
) -> Result<&'a str, OAuthError> {
    let pinned = |issuer: &String| {
        let mut registered = config.registered.iter();
        registered.any(|client| client.issuer.as_ref() == Some(issuer))
    };
    if let Some(issuer) = offered.iter().find(|issuer| pinned(issuer)) {
        return Ok(issuer);
    }
    let anywhere = config
        .registered
        .iter()
        .any(|client| client.issuer.is_none());
    match config.registered.first() {
        Some(RegisteredClient {
            issuer: Some(issuer),
            client_id,
            ..
        }) if !anywhere => Err(OAuthError::OtherIssuer {
            client_id: client_id.clone(),
            registered: issuer.clone(),
            offered: offered.to_vec(),
        }),
        _ => offered
            .first()
            .map(String::as_str)
            .ok_or_else(|| OAuthError::NoResourceMetadata { tried: Vec::new() }),
    }
}

/// The client that was registered with `issuer` before.
pub(crate) fn registered(config: &OAuthConfig, issuer: &str) -> Option<Client> {
    let mut clients = config.registered.iter();
    let exact = clients.find(|client| client.issuer.as_deref() == Some(issuer));
    let found = exact.or_else(|| {
        config
            .registered
            .iter()
            .find(|client| client.issuer.is_none())
    });
    found.map(client)
}

/// A registered client as it makes requests.
pub(crate) fn client(registered: &RegisteredClient) -> Client {
    Client::new(
        registered.client_id.clone(),
        registered.proof.clone(),
        Origin::Registered,
    )
}

/// The client that a document describes, if this one has such a document.
pub(crate) fn described(config: &OAuthConfig) -> Option<Client> {
    let url = config.metadata_document.clone()?;
    let proof = match &config.metadata_document_key {
        Some(key) => Proof::Key(Arc::clone(key)),
        None => Proof::None,
    };
    Some(Client::new(url, proof, Origin::Document))
}

/// Refuses a URL that cannot be a client id (OAuth Client ID Metadata Document, section 3).
pub(crate) fn check_metadata_document(url: &str) -> Result<(), ConfigError> {
    let unfit = |problem| ConfigError::Unfit {
        field: "metadata_document",
        value: url.chars().take(200).collect(),
        problem,
    };
    if identifier::document(url).map_err(unfit)?.scheme() != "https" {
        return Err(unfit("must begin with https://"));
    }
    Ok(())
}

/// The document that describes a client whose id is `url`, to be published there.
///
/// `redirect_uris` are all that answers may be sent to; for a client on people's machines, `http` ones to `127.0.0.1`
/// or `localhost`. With `keys`, a JWK Set, the client proves itself by `private_key_jwt`.
///
/// # Errors
///
/// [`ConfigError`] if `url` cannot be a client id, or there is no redirect URI that can be used.
pub fn client_metadata_document(
    url: &str,
    client_name: &str,
    redirect_uris: &[String],
    keys: Option<&Value>,
) -> Result<Value, ConfigError> {
    check_metadata_document(url)?;
    ConfigError::unless_empty("client_name", client_name.trim().is_empty())?;
    ConfigError::unless_empty("redirect_uris", redirect_uris.is_empty())?;
    for uri in redirect_uris {
        super::authorize::check_redirect_uri(uri)?;
    }
    let mut document = json!({
        "client_id": url,
        "client_name": client_name,
        "redirect_uris": redirect_uris,
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": if keys.is_some() { "private_key_jwt" } else { "none" },
    });
    if let (Some(keys), Some(document)) = (keys, document.as_object_mut()) {
        document.insert("jwks".to_owned(), keys.clone());
    }
    Ok(document)
}

/// What a registration is answered with (RFC 7591, section 3.2.1).
#[derive(Deserialize)]
struct Answer {
    client_id: String,
    client_secret: Option<String>,
    client_secret_expires_at: Option<u64>,
    token_endpoint_auth_method: Option<String>,
}

/// What a refused registration is answered with (section 3.2.2), and a refused token request (RFC 6749, section 5.2).
#[derive(Deserialize)]
struct Refused {
    error: String,
    error_description: Option<String>,
}

/// What an endpoint says about its refusal; its status, if it says nothing.
pub(crate) fn says(answer: &fastmcp_guard::http::Response) -> ServerSays {
    match serde_json::from_slice::<Refused>(&answer.body) {
        Ok(refused) => ServerSays::new(&refused.error, refused.error_description.as_deref()),
        Err(_) => ServerSays::new(&format!("status {}", answer.status.as_u16()), None),
    }
}

/// Registers this client with an authorization server.
pub(crate) async fn register(
    config: &OAuthConfig,
    network: &Network,
    server: &ServerMetadata,
    redirect_uri: &str,
) -> Result<Client, OAuthError> {
    let endpoint = server.registration_endpoint.as_deref();
    let (true, Some(endpoint)) = (config.dynamic_registration, endpoint) else {
        return Err(OAuthError::NoRegistration {
            issuer: server.issuer.clone(),
        });
    };
    let what = "the registration endpoint";
    let body = Bytes::from(request(config, server, redirect_uri).to_string());
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    let answer = network.post(what, endpoint, headers, body).await?;
    if !matches!(answer.status.as_u16(), 200 | 201) {
        return Err(OAuthError::Registration {
            issuer: server.issuer.clone(),
            says: says(&answer),
        });
    }
    let unfit = |reason: &str| OAuthError::Document {
        what: "the answer of the registration endpoint",
        url: endpoint.to_owned(),
        reason: reason.to_owned(),
    };
    // The cause would repeat what the document holds, secrets too.
    let read: Answer = serde_json::from_slice(&answer.body)
        .map_err(|_| unfit("`client_id` is missing, or a member has the wrong type"))?;
    let secret_bytes = read.client_secret.as_ref().map_or(0, String::len);
    if read.client_id.is_empty() || read.client_id.len().max(secret_bytes) > MAX_BYTES {
        return Err(unfit(
            "`client_id` is empty, or it or the secret is longer than 4096 bytes",
        ));
    }
    let proof = read
        .client_secret
        .map_or(Proof::None, |secret| Proof::Secret(secret.into()));
    Ok(Client {
        method: read.token_endpoint_auth_method,
        redirect_uri: Some(redirect_uri.to_owned()),
        // Zero is never (RFC 7591, section 3.2.1).
        secret_expires_at: read
            .client_secret_expires_at
            .filter(|seconds| *seconds > 0)
            .map(Timestamp::from_unix_seconds),
        ..Client::new(read.client_id, proof, Origin::Dynamic)
    })
}

/// What this client says about itself.
fn request(config: &OAuthConfig, server: &ServerMetadata, redirect_uri: &str) -> Value {
    let grants = if server.refreshes() {
        vec!["authorization_code", "refresh_token"]
    } else {
        vec!["authorization_code"]
    };
    // A client on somebody's machine can keep no secret, so it asks for none where that is taken.
    let method = ["none", "client_secret_basic", "client_secret_post"]
        .into_iter()
        .find(|method| server.takes_method(method) == Some(true))
        .unwrap_or("client_secret_basic");
    json!({
        "client_name": config.client_name,
        "redirect_uris": [redirect_uri],
        "grant_types": grants,
        "response_types": ["code"],
        "application_type": application_type(redirect_uri),
        "token_endpoint_auth_method": method,
    })
}

/// A client whose answers come to this machine is `native`.
fn application_type(redirect_uri: &str) -> &'static str {
    let local = match identifier::parse(redirect_uri)
        .ok()
        .as_ref()
        .and_then(url::Url::host)
    {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if local { "native" } else { "web" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_url_is_https_with_a_path() {
        for good in ["https://h/c.json", "https://h:8443/a/b?x=1"] {
            assert!(check_metadata_document(good).is_ok(), "{good}");
        }
        for bad in [
            "http://h/c.json",
            "https://h",
            "https://h/",
            "https://h/../c",
            "https://h/./c",
            "https://h/c#x",
            "https://u@h/c",
            "c.json",
        ] {
            assert!(check_metadata_document(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_document_names_itself() {
        let redirects = ["http://127.0.0.1:3000/callback".to_owned()];
        let document =
            client_metadata_document("https://h/c.json", "Tools", &redirects, None).unwrap();
        assert_eq!(document["client_id"], "https://h/c.json");
        assert_eq!(document["token_endpoint_auth_method"], "none");
        assert!(client_metadata_document("https://h/c.json", "Tools", &[], None).is_err());
        let elsewhere = ["http://h/callback".to_owned()];
        assert!(client_metadata_document("https://h/c.json", "Tools", &elsewhere, None).is_err());
    }

    #[test]
    fn clients_of_people_are_native() {
        for (uri, expected) in [
            ("http://127.0.0.1:1/callback", "native"),
            ("http://localhost:1/callback", "native"),
            ("http://[::1]:1/callback", "native"),
            ("https://app.example/callback", "web"),
        ] {
            assert_eq!(application_type(uri), expected, "{uri}");
        }
    }
}
