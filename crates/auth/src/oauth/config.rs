//! How an OAuth client is set up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fastmcp_guard::clock::{Clock, SystemClock};
use fastmcp_guard::random::{OsRandom, Random};

use super::assertion::{AssertionKey, AssertionSource};
use super::authorize::Authorize;
use super::network::NetworkConfig;
use super::registration::{self, RegisteredClient};
use super::scope::Scopes;
use super::storage::{MemoryStorage, TokenStorage};
use crate::error::ConfigError;

/// How the client gets tokens. It never falls back from one way to another.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Grant {
    /// A person agrees (authorization code with PKCE).
    Person(Arc<dyn Authorize>),
    /// The client asks for itself (`client_credentials`), as a registered client with a secret or a key.
    ///
    /// Source: MCP extension `io.modelcontextprotocol/oauth-client-credentials`.
    Client,
    /// The company's identity provider vouches for its user.
    ///
    /// Source: MCP extension `io.modelcontextprotocol/enterprise-managed-authorization`.
    Enterprise(Enterprise),
    /// The platform that the client runs on vouches for it (RFC 7523, section 2.1).
    Workload(Arc<dyn AssertionSource>),
}

/// What enterprise-managed authorization needs of the company's identity provider.
#[derive(Clone, Debug)]
pub struct Enterprise {
    /// The identity provider.
    pub provider: IdentityProvider,
    /// This client as the identity provider knows it.
    pub client: RegisteredClient,
    /// Where the user's ID token comes from; it is asked with the identity provider's issuer or token endpoint.
    pub id_token: Arc<dyn AssertionSource>,
}

/// Where an identity provider exchanges tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityProvider {
    /// Where its metadata says.
    Issuer(String),
    /// At this URL.
    TokenEndpoint(String),
}

/// Whether tokens are bound to a key of this client (RFC 9449).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DpopUse {
    /// Where the authorization server announces it with ES256.
    #[default]
    Offered,
    /// Always; a token that is not bound is refused.
    Required,
    /// Never.
    Off,
}

/// How an OAuth client is set up. Begin with [`OAuthConfig::new`] and change fields.
#[derive(Clone)]
#[non_exhaustive]
pub struct OAuthConfig {
    /// The URL of the MCP server.
    pub server_url: String,
    /// How tokens are got.
    pub grant: Grant,
    /// Whose tokens these are, where one storage serves several people; default nobody in particular.
    pub owner: String,
    /// What people see when they are asked, in registrations; default `FastMCP client`.
    pub client_name: String,
    /// Clients that were registered before; none, one, or one for each authorization server.
    pub registered: Vec<RegisteredClient>,
    /// The URL of this client's metadata document, which is then its client id; default none.
    pub metadata_document: Option<String>,
    /// The key that the metadata document names, if it says `private_key_jwt`; default none.
    pub metadata_document_key: Option<Arc<AssertionKey>>,
    /// Whether this client may register itself where nothing else serves; default yes.
    pub dynamic_registration: bool,
    /// The authorization server of a server that publishes no resource metadata; default none.
    pub authorization_server: Option<String>,
    /// The scopes to begin with, in place of those that the server names; default none.
    pub scopes: Option<Scopes>,
    /// Whether `offline_access` is asked for where the authorization server lists it; default yes.
    pub offline_access: bool,
    /// Whether tokens are bound to a key; default where that is offered.
    pub dpop: DpopUse,
    /// How long a person may take; default 5 minutes.
    pub authorize_timeout: Duration,
    /// Where registrations and tokens are kept; default in memory.
    pub storage: Arc<dyn TokenStorage>,
    /// Whom this client may ask; default public hosts and the server's own.
    pub network: NetworkConfig,
    /// The time of day; default the machine's.
    pub clock: Arc<dyn Clock>,
    /// The source of states and verifiers; default the operating system.
    pub random: Arc<dyn Random>,
}

impl OAuthConfig {
    /// For the server at `server_url`.
    #[must_use]
    pub fn new(server_url: impl Into<String>, grant: Grant) -> Self {
        Self {
            server_url: server_url.into(),
            grant,
            owner: String::new(),
            client_name: "FastMCP client".to_owned(),
            registered: Vec::new(),
            metadata_document: None,
            metadata_document_key: None,
            dynamic_registration: true,
            authorization_server: None,
            scopes: None,
            offline_access: true,
            dpop: DpopUse::default(),
            authorize_timeout: Duration::from_secs(300),
            storage: Arc::new(MemoryStorage::new()),
            network: NetworkConfig::public(),
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        ConfigError::unless_empty("client_name", self.client_name.trim().is_empty())?;
        if let Some(url) = &self.metadata_document {
            registration::check_metadata_document(url)?;
        }
        if let Some(issuer) = &self.authorization_server {
            crate::endpoint::parse("authorization_server", issuer)?;
        }
        let seconds = self.authorize_timeout.as_secs();
        ConfigError::unless_outside("authorize_timeout in s", seconds, 1..=86_400)?;
        let alone = matches!(self.grant, Grant::Client | Grant::Enterprise(_));
        ConfigError::unless_empty("registered", alone && self.registered.is_empty())
    }
}

impl fmt::Debug for OAuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthConfig")
            .field("server_url", &self.server_url)
            .field("grant", &self.grant)
            .field("owner", &self.owner)
            .field("registered", &self.registered)
            .field("metadata_document", &self.metadata_document)
            .field("scopes", &self.scopes)
            .field("dpop", &self.dpop)
            .finish_non_exhaustive()
    }
}
