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
    /// Further names under which it issues tokens, signed with the same keys.
    other_names: Vec<String>,
    /// The authorization server that clients go to, where it is not the issuer itself.
    server: Option<String>,
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
            other_names: Vec::new(),
            server: None,
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
        let mut config = JwtConfig {
            claims: self.names.clone(),
            required_scopes: self.required_scopes.clone(),
            ..JwtConfig::new(self.issuer.as_str(), audience.as_str())
        };
        config.issuers.extend(self.other_names.iter().cloned());
        let keys = remote_keys(RemoteKeysConfig::new(&self.keys_at), network)?;
        let verifier = Arc::new(JwtVerifier::new(config, keys, Arc::clone(&clock))?);
        let verifier = CachedVerifier::new(verifier, clock, &CacheConfig::default())?;
        let server = self.server.as_ref().unwrap_or(&self.issuer);
        RemoteAuthProvider::new(Arc::new(verifier), &self.resource, [server.as_str()])
    }
}

/// What every provider of this kind can be told.
macro_rules! remote {
    ($provider:ident) => {
        impl $provider {
            /// Who tokens must be for, in place of the default, which is the URL of MCP where nothing else is said.
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

/// Descope: an MCP server of its console (an agentic resource) with dynamic client registration or client metadata documents; clients
/// register and log in there, and bring its JWTs.
///
/// In the console, enter the URL of MCP as the "MCP Server URL" of that server, so that it is the audience of the tokens. Without one
/// they are made out to the project, and would be good at every server of it: they are refused here.
///
/// Tokens may name the MCP server or its project as their issuer; Descope signs both with the keys of the project.
///
/// Source: docs.descope.com, "Discovery Endpoints" and "Managing Resources".
#[derive(Clone, Debug)]
pub struct DescopeProvider(Issuer);

remote!(DescopeProvider);

impl DescopeProvider {
    /// The MCP server at `issuer` (such as `https://api.descope.com/v1/apps/agentic/P2abc/MS3xyz`, or the well-known URL beneath it that
    /// the console shows), for MCP at the URL `resource`.
    ///
    /// # Errors
    /// If the URL is not of that form.
    pub fn new(
        issuer: impl Into<String>,
        resource: impl Into<String>,
    ) -> Result<Self, ConfigError> {
        let given = trimmed(issuer);
        let issuer = given
            .strip_suffix("/.well-known/openid-configuration")
            .or_else(|| given.strip_suffix("/.well-known/oauth-authorization-server"))
            .unwrap_or(&given);
        let parts = issuer
            .split_once("/v1/apps/agentic/")
            .and_then(|(base, ids)| Some((base, ids.split_once('/')?)))
            .filter(|(_, (project, server))| {
                let is_id =
                    |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric());
                is_id(project) && is_id(server)
            });
        let Some((base, (project, _))) = parts else {
            return Err(ConfigError::Unfit {
                field: "issuer",
                value: given.chars().take(200).collect(),
                problem: "must be that of an MCP server: `https://api.descope.com/v1/apps/agentic/PROJECT/SERVER`",
            });
        };
        let mut provider = Issuer::new(issuer.to_owned(), "", resource);
        provider.keys_at = format!("{base}/{project}/.well-known/jwks.json");
        provider.other_names = vec![format!("{base}/v1/apps/{project}")];
        Ok(Self(provider))
    }
}

/// Scalekit: an MCP server of its dashboard; clients register (or name themselves by a document) and log in there, and bring its JWTs.
///
/// In the dashboard, enter the URL of MCP as the server's. Tokens are for the resource that the dashboard names (`res_...`), which is
/// this server alone, and so the audience.
///
/// Source: docs.scalekit.com, "Secure your MCP servers".
#[derive(Clone, Debug)]
pub struct ScalekitProvider(Issuer);

remote!(ScalekitProvider);

impl ScalekitProvider {
    /// The environment at `environment_url` (such as `https://your-app.scalekit.com`), in which MCP at the URL `resource` is the
    /// resource `resource_id` (such as `res_123456`).
    #[must_use]
    pub fn new(
        environment_url: impl Into<String>,
        resource_id: &str,
        resource: impl Into<String>,
    ) -> Self {
        let mut issuer = Issuer::new(trimmed(environment_url), "/keys", resource);
        issuer.server = Some(format!("{}/resources/{resource_id}", issuer.issuer));
        issuer.audience = Some(resource_id.to_owned());
        Self(issuer)
    }
}
