//! Microsoft Entra ID, which was Azure Active Directory.
//!
//! Source: learn.microsoft.com/entra/identity-platform, "OAuth 2.0 authorization code flow", "Access token claims reference".

use std::sync::Arc;

use fastmcp_guard::http::AllowedHost;
use secrecy::SecretString;

use super::{Application, built, trimmed};
use crate::claims::{ClaimName, ClaimNames};
use crate::endpoint;
use crate::error::ConfigError;
use crate::jwt::{JwtConfig, JwtVerifier};
use crate::keys::RemoteKeysConfig;
use crate::oauth::network::Network;
use crate::proxy::{
    Backing, ClientAuthentication, OAuthProxyConfig, ScopeNames, Upstream, Verification,
    remote_keys,
};

/// The public cloud.
const PUBLIC: &str = "https://login.microsoftonline.com";

/// Microsoft Entra ID (Azure): an app registration with the web redirect URI `https://your.server/auth/callback`, which exposes
/// an API with at least one scope (such as `read`).
///
/// The scopes of this server are those that the app exposes: `read` is asked for as `api://CLIENT-ID/read`, and stands in
/// tokens as `read`. At least one must be required, since without one Entra issues tokens for Microsoft Graph, which this
/// server cannot verify. Claims are those of the access token; `tid` is the caller's tenant, `roles` its app roles.
///
/// ```
/// # use fastmcp_auth::{ConfigError, provider::AzureProvider, proxy::{Backing, OAuthProxy}};
/// # fn example(backing: Backing, secret: secrecy::SecretString) -> Result<OAuthProxy, ConfigError> {
/// let tenant = "2d4ee7a2-5a3c-4a24-8f0d-1c3f5ce1c0a1";
/// let proxy = AzureProvider::new(tenant, ("client-id", secret), "https://tools.example")
///     .required_scopes(["read"])
///     .build(backing)?;
/// # Ok(proxy)
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AzureProvider {
    application: Application,
    tenant: String,
    authority: String,
    identifier_uri: Option<String>,
}

built!(AzureProvider);

impl AzureProvider {
    /// The app with this id and secret in the directory `tenant`, given by its id (a UUID), for the server that is reached under
    /// `base_url`.
    #[must_use]
    pub fn new(
        tenant: impl Into<String>,
        client: (impl Into<String>, SecretString),
        base_url: impl Into<String>,
    ) -> Self {
        Self {
            application: Application::new(client, base_url),
            tenant: tenant.into(),
            authority: PUBLIC.to_owned(),
            identifier_uri: None,
        }
    }

    /// The "Application ID URI" of the app. Default `api://CLIENT-ID`.
    #[must_use]
    pub fn identifier_uri(mut self, uri: impl Into<String>) -> Self {
        self.identifier_uri = Some(trimmed(uri));
        self
    }

    /// Another cloud, such as `https://login.microsoftonline.us`.
    #[must_use]
    pub fn authority(mut self, url: impl Into<String>) -> Self {
        self.authority = trimmed(url);
        self
    }

    /// The settings of the proxy.
    ///
    /// # Errors
    /// If no scope is required, the tenant is not the id of one, or a URL cannot be used.
    pub fn config(&self, backing: &Backing) -> Result<OAuthProxyConfig, ConfigError> {
        let application = &self.application;
        let none = application.required_scopes.is_empty();
        ConfigError::unless_empty("required_scopes", none)?;
        let digit = |b: u8| b.is_ascii_hexdigit() || b == b'-';
        if self.tenant.len() != 36 || !self.tenant.bytes().all(digit) {
            // Of `common` and `organizations`, any tenant of the world would be let in.
            return Err(ConfigError::Unfit {
                field: "tenant",
                value: self.tenant.chars().take(200).collect(),
                problem: "is not the id of a directory: give its UUID, by which its tokens name it",
            });
        }
        let at = |path: &str| format!("{}/{}/{path}", self.authority, self.tenant);
        let keys_at = at("discovery/v2.0/keys");
        let unfit = |problem| ConfigError::Unfit {
            field: "authority",
            value: self.authority.clone(),
            problem,
        };
        let host = AllowedHost::of_url(&endpoint::parse("authority", &keys_at)?);
        let host = host.map_err(|_| unfit("has no host"))?;
        let network = application.network.clone().allow_host(host);
        let network = Network::new(&network, None).map_err(|_| unfit("cannot be reached"))?;
        let identifier = self.identifier_uri.clone();
        let identifier = identifier.unwrap_or_else(|| format!("api://{}", application.client_id));
        let issuer = at("v2.0");
        let mut issuers = vec![issuer.clone()];
        if self.authority == PUBLIC {
            // Of apps whose manifest says nothing about the version of their tokens.
            issuers.push(format!("https://sts.windows.net/{}/", self.tenant));
        }
        let config = JwtConfig {
            issuers,
            audiences: vec![application.client_id.clone(), identifier.clone()],
            claims: ClaimNames {
                tenant: vec![ClaimName::parse("tid")?],
                scopes: vec![ClaimName::parse("scp")?],
                ..ClaimNames::default()
            },
            ..JwtConfig::new(issuer.as_str(), identifier.as_str())
        };
        let keys = remote_keys(RemoteKeysConfig::new(keys_at), network)?;
        let token = JwtVerifier::new(config, keys, backing.clock())?;
        let mut upstream = Upstream::new(
            "Microsoft",
            at("oauth2/v2.0/authorize"),
            at("oauth2/v2.0/token"),
            application.client(),
            Verification::Token(Arc::new(token)),
        );
        upstream.authentication = ClientAuthentication::Post;
        upstream.scopes = vec!["offline_access".to_owned()];
        upstream.scope_names = ScopeNames::Prefixed(format!("{identifier}/"));
        Ok(application.config(upstream))
    }
}
