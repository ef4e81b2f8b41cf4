//! Google.
//!
//! Source: developers.google.com/identity/protocols/oauth2/web-server and /openid-connect.

use std::sync::Arc;

use fastmcp_guard::clock::Timestamp;
use fastmcp_guard::http::AllowedHost;
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::probe::{Known, Probe, Shown};
use super::{Application, built, trimmed};
use crate::claims::ClaimNames;
use crate::endpoint;
use crate::error::ConfigError;
use crate::keys::RemoteKeysConfig;
use crate::oauth::network::Network;
use crate::proxy::{
    Backing, ClientAuthentication, IdTokenVerifier, OAuthProxyConfig, ScopeNames, Upstream,
    Verification, remote_keys,
};

/// What Google calls two of the scopes in its answers.
const ALIASES: &[(&str, &str)] = &[
    ("email", "https://www.googleapis.com/auth/userinfo.email"),
    (
        "profile",
        "https://www.googleapis.com/auth/userinfo.profile",
    ),
];

/// Where its services are, each on a host of its own.
#[derive(Clone, Debug)]
struct Hosts {
    accounts: String,
    oauth: String,
    certificates: String,
}

/// Google: an OAuth client of type "Web application", entered in the Cloud console with the redirect URI
/// `https://your.server/auth/callback`.
///
/// Claims are those of the ID token: `sub`, `email`, `email_verified`, `name`, `picture`, and `hd`, the domain of a Workspace
/// account. Every caller needs the scopes `openid` and `email`, unless others are required.
///
/// ```
/// # use fastmcp_auth::{ConfigError, provider::GoogleProvider, proxy::{Backing, OAuthProxy}};
/// # fn example(backing: Backing, secret: secrecy::SecretString) -> Result<OAuthProxy, ConfigError> {
/// let proxy = GoogleProvider::new(("1234.apps.googleusercontent.com", secret), "https://tools.example")
///     .allowed_domains(["acme.example"])
///     .build(backing)?;
/// # Ok(proxy)
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GoogleProvider {
    application: Application,
    hosts: Hosts,
    domains: Option<Vec<String>>,
}

built!(GoogleProvider);

impl GoogleProvider {
    /// The client with this id and secret, for the server that is reached under `base_url`.
    #[must_use]
    pub fn new(client: (impl Into<String>, SecretString), base_url: impl Into<String>) -> Self {
        let mut application = Application::new(client, base_url);
        application.required_scopes = vec!["openid".to_owned(), "email".to_owned()];
        Self {
            application,
            hosts: Hosts {
                accounts: "https://accounts.google.com".to_owned(),
                oauth: "https://oauth2.googleapis.com".to_owned(),
                certificates: "https://www.googleapis.com".to_owned(),
            },
            domains: None,
        }
    }

    /// Lets in accounts of these Workspace domains alone, by the claim `hd`; accounts without a domain are not let in.
    #[must_use]
    pub fn allowed_domains<S: Into<String>>(
        mut self,
        domains: impl IntoIterator<Item = S>,
    ) -> Self {
        let lower = |domain: S| domain.into().to_ascii_lowercase();
        self.domains = Some(domains.into_iter().map(lower).collect());
        self
    }

    /// All of Google at one other URL, which is the issuer too: for tests.
    #[must_use]
    pub fn at(mut self, url: impl Into<String>) -> Self {
        let url = trimmed(url);
        self.hosts = Hosts {
            accounts: url.clone(),
            oauth: url.clone(),
            certificates: url,
        };
        self
    }

    /// The settings of the proxy.
    ///
    /// # Errors
    /// If a URL cannot be used.
    pub fn config(&self, backing: &Backing) -> Result<OAuthProxyConfig, ConfigError> {
        let application = &self.application;
        let hosts = &self.hosts;
        let certificates = format!("{}/oauth2/v3/certs", hosts.certificates);
        let unfit = |problem| ConfigError::Unfit {
            field: "provider",
            value: certificates.clone(),
            problem,
        };
        let host = AllowedHost::of_url(&endpoint::parse("provider", &certificates)?);
        let host = host.map_err(|_| unfit("has no host"))?;
        let network = application.network.clone().allow_host(host);
        let network = Network::new(&network, None);
        let network = network.map_err(|_| unfit("cannot be reached"))?;
        let id_token = IdTokenVerifier::new(
            &hosts.accounts,
            &application.client_id,
            ClaimNames::default(),
            remote_keys(RemoteKeysConfig::new(&certificates), network)?,
            backing.clock(),
        )?;
        let client_id = application.client_id.clone();
        let token = Probe::verifier(
            (
                format!("{}/tokeninfo", hosts.oauth),
                Shown::Query("access_token"),
            ),
            &hosts.accounts,
            &application.network,
            backing.clock(),
            Box::new(move |info| read(info, &client_id)),
        )?;
        let mut upstream = Upstream::new(
            "Google",
            format!("{}/o/oauth2/v2/auth", hosts.accounts),
            format!("{}/token", hosts.oauth),
            application.client(),
            Verification::Both(token, Arc::new(id_token)),
        );
        upstream.revocation_endpoint = Some(format!("{}/revoke", hosts.oauth));
        upstream.issuer = Some(hosts.accounts.clone());
        upstream.authentication = ClientAuthentication::Post;
        upstream.scopes = vec!["openid".to_owned()];
        upstream.scope_names = ScopeNames::Aliases(ALIASES);
        // Without both of these it gives a refresh token once, and never again.
        upstream.authorize_parameters = vec![
            ("access_type".to_owned(), "offline".to_owned()),
            ("prompt".to_owned(), "consent".to_owned()),
        ];
        let mut config = application.config(upstream);
        if let Some(domains) = self.domains.clone() {
            config.admit = Some(Arc::new(move |claims| {
                let domain = claims.get("hd").and_then(Value::as_str);
                let domain = domain.map(str::to_ascii_lowercase);
                domain.is_some_and(|domain| domains.contains(&domain))
            }));
        }
        Ok(config)
    }
}

/// What Google says of an access token, in which numbers are texts.
fn read(info: &Map<String, Value>, client_id: &str) -> Option<Known> {
    let text = |name: &str| info.get(name).and_then(Value::as_str);
    // A token that was issued to another client would let its owner in here.
    if text("aud") != Some(client_id) {
        return None;
    }
    let mut known = Known::person(text("sub")?.to_owned(), info, &[]);
    let end = text("exp").and_then(|end| end.parse().ok());
    known.expires_at = end.map(Timestamp::from_unix_seconds);
    Some(known)
}
