//! Providers at which MCP clients register themselves: nothing stands between, tokens are verified and clients are told where
//! to get them.

use std::fmt;
use std::sync::Arc;

use fastmcp_guard::clock::Clock;
use fastmcp_guard::http::AllowedHost;

use super::trimmed;
use crate::authenticator::Authenticator;
use crate::challenge::Challenger;
use crate::claims::{ClaimName, ClaimNames};
use crate::endpoint;
use crate::error::ConfigError;
use crate::jwt::{JwtConfig, JwtVerifier};
use crate::keys::RemoteKeysConfig;
use crate::metadata::ResourceMetadata;
use crate::oauth::network::{Network, NetworkConfig};
use crate::proxy::remote_keys;
use crate::verifier::{CacheConfig, CachedVerifier, TokenVerifier};

/// A server whose tokens come from an authorization server that takes MCP clients by itself (RFC 9728): a verifier, and what
/// tells clients where to go.
///
/// ```
/// # use std::sync::Arc;
/// # use fastmcp_auth::{ConfigError, TokenVerifier, provider::RemoteAuthProvider};
/// # fn example(verifier: Arc<dyn TokenVerifier>) -> Result<RemoteAuthProvider, ConfigError> {
/// let remote = RemoteAuthProvider::new(verifier, "https://tools.example/mcp", ["https://idp.example"])?;
/// # Ok(remote)
/// # }
/// ```
#[derive(Clone)]
pub struct RemoteAuthProvider {
    verifier: Arc<dyn TokenVerifier>,
    metadata: ResourceMetadata,
    challenger: Challenger,
}

impl RemoteAuthProvider {
    /// The server at `resource`, the URL of MCP, whose tokens `verifier` takes and `authorization_servers` issue. The scopes that the
    /// verifier requires are named to clients.
    ///
    /// # Errors
    /// If a URL is neither `https` nor `http` to this machine, or there is no authorization server.
    pub fn new<S: Into<String>>(
        verifier: Arc<dyn TokenVerifier>,
        resource: &str,
        authorization_servers: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        let scopes = verifier.required_scopes().to_vec();
        let metadata = ResourceMetadata::new(resource, authorization_servers)?;
        let metadata = metadata.with_scopes(scopes.clone())?;
        let challenger = Challenger::new()
            .with_resource_metadata(&metadata.url())?
            .with_scopes(scopes)?;
        Ok(Self {
            verifier,
            metadata,
            challenger,
        })
    }

    /// Names further scopes that clients may ask for.
    ///
    /// # Errors
    /// If one is not a scope, or is `offline_access`.
    pub fn with_scopes<S: Into<String>>(
        mut self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<Self, ConfigError> {
        let mut all = self.verifier.required_scopes().to_vec();
        for scope in scopes {
            let scope = scope.into();
            if !all.contains(&scope) {
                all.push(scope);
            }
        }
        self.metadata = self.metadata.with_scopes(all)?;
        Ok(self)
    }

    /// What lets callers in, and tells the others where to get a token.
    #[must_use]
    pub fn authenticator(&self) -> Authenticator {
        Authenticator::new(Arc::clone(&self.verifier), self.challenger.clone())
    }

    /// What tells clients where tokens come from.
    #[must_use]
    pub fn resource_metadata(&self) -> ResourceMetadata {
        self.metadata.clone()
    }
}

impl fmt::Debug for RemoteAuthProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteAuthProvider")
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

/// An issuer of JWTs at which clients register themselves.
#[derive(Clone, Debug)]
struct Issuer {
    issuer: String,
    keys_at: String,
    resource: String,
    audience: Option<String>,
    required_scopes: Vec<String>,
    names: ClaimNames,
    network: NetworkConfig,
}

impl Issuer {
    fn new(issuer: String, keys: &str, resource: impl Into<String>) -> Self {
        Self {
            keys_at: format!("{issuer}{keys}"),
            issuer,
            resource: resource.into(),
            audience: None,
            required_scopes: Vec::new(),
            names: ClaimNames::default(),
            network: NetworkConfig::default(),
        }
    }

    fn build(&self, clock: Arc<dyn Clock>) -> Result<RemoteAuthProvider, ConfigError> {
        let unfit = |problem| ConfigError::Unfit {
            field: "issuer",
            value: self.issuer.clone(),
            problem,
        };
        let host = AllowedHost::of_url(&endpoint::parse("issuer", &self.keys_at)?);
        let host = host.map_err(|_| unfit("has no host"))?;
        let network = Network::new(&self.network.clone().allow_host(host), None);
        let network = network.map_err(|_| unfit("cannot be reached"))?;
        let audience = self.audience.as_ref().unwrap_or(&self.resource);
        let config = JwtConfig {
            claims: self.names.clone(),
            required_scopes: self.required_scopes.clone(),
            ..JwtConfig::new(self.issuer.as_str(), audience.as_str())
        };
        let keys = remote_keys(RemoteKeysConfig::new(&self.keys_at), network)?;
        let verifier = Arc::new(JwtVerifier::new(config, keys, Arc::clone(&clock))?);
        let verifier = CachedVerifier::new(verifier, clock, &CacheConfig::default())?;
        RemoteAuthProvider::new(Arc::new(verifier), &self.resource, [self.issuer.as_str()])
    }
}

/// What every provider of this kind can be told.
macro_rules! remote {
    ($provider:ident) => {
        impl $provider {
            /// Who tokens must be for. Default: the URL of MCP.
            #[must_use]
            pub fn audience(mut self, audience: impl Into<String>) -> Self {
                self.0.audience = Some(audience.into());
                self
            }

            /// The scopes that every caller must bring.
            #[must_use]
            pub fn required_scopes<S: Into<String>>(
                mut self,
                scopes: impl IntoIterator<Item = S>,
            ) -> Self {
                self.0.required_scopes = scopes.into_iter().map(Into::into).collect();
                self
            }

            /// How the keys of the provider are fetched.
            #[must_use]
            pub fn network(mut self, network: NetworkConfig) -> Self {
                self.0.network = network;
                self
            }

            /// Makes what lets callers in.
            ///
            /// # Errors
            /// If a setting cannot work.
            pub fn build(&self, clock: Arc<dyn Clock>) -> Result<RemoteAuthProvider, ConfigError> {
                self.0.build(clock)
            }
        }
    };
}

/// WorkOS AuthKit with dynamic client registration: clients register and log in there, and bring its JWTs.
///
/// In the WorkOS dashboard, turn on dynamic client registration, and enter the URL of MCP as a resource indicator, so that it is the
/// audience of the tokens.
///
/// Source: workos.com/docs/authkit/mcp.
#[derive(Clone, Debug)]
pub struct AuthKitProvider(Issuer);

remote!(AuthKitProvider);

impl AuthKitProvider {
    /// The AuthKit at `authkit_domain` (such as `https://your-app.authkit.app`), for MCP at the URL `resource`.
    #[must_use]
    pub fn new(authkit_domain: impl Into<String>, resource: impl Into<String>) -> Self {
        Self(Issuer::new(
            trimmed(authkit_domain),
            "/oauth2/jwks",
            resource,
        ))
    }
}

/// Keycloak, whose realms register clients: clients register and log in there, and bring its JWTs.
///
/// Add an audience mapper to a client scope of the realm, so that its tokens are for this server. The realm's roles
/// (`realm_access.roles`) are the caller's.
///
/// Source: keycloak.org, "Securing applications and services with OpenID Connect".
#[derive(Clone, Debug)]
pub struct KeycloakProvider(Issuer);

remote!(KeycloakProvider);

impl KeycloakProvider {
    /// The realm at `realm_url` (such as `https://sso.example/realms/acme`), for MCP at the URL `resource`.
    #[must_use]
    pub fn new(realm_url: impl Into<String>, resource: impl Into<String>) -> Self {
        let keys = "/protocol/openid-connect/certs";
        let mut issuer = Issuer::new(trimmed(realm_url), keys, resource);
        issuer.names.roles = vec![ClaimName::plain("/realm_access/roles")];
        Self(issuer)
    }
}
