//! An authorization server in front of an identity provider that registers no clients (feature `oauth-proxy`).
//!
//! MCP clients register themselves, or name themselves by a document; GitHub, Google, Entra and many others want each client
//! entered by hand. An [`OAuthProxy`] stands between: towards MCP clients it is an authorization server, towards the identity
//! provider it is the one client that was entered there. It issues tokens of its own, which are good at this server alone;
//! the identity provider's tokens stay here, sealed.
//!
//! | endpoint | what it does |
//! |---|---|
//! | `/.well-known/oauth-authorization-server` | describes the others (RFC 8414) |
//! | `/register` | registers a client (RFC 7591) |
//! | `/authorize` | asks a person whether the client may act for them; code with PKCE `S256` alone (RFC 7636) |
//! | `/consent` | takes the answer, and sends them to log in |
//! | `/auth/callback` | where the identity provider sends them back to |
//! | `/token` | code and refresh token for tokens (RFC 6749, sections 4.1.3 and 6; RFC 8707; RFC 9068) |
//! | `/revoke` | ends a session (RFC 7009) |
//!
//! What it does against the attacks on such proxies:
//!
//! - Nobody is sent to log in before a person agreed on a page of ours that names the client and where the answer goes, in
//!   the same browser, by a form that no other site can send (the confused deputy). What the identity provider answers is
//!   taken from that browser alone.
//! - Redirect URIs are compared exactly, but for the port of this machine (RFC 8252); errors before consent go to a page,
//!   not to the client, unless that is on this machine.
//! - A code is good once, for a minute, for its client, redirect URI and verifier. Used again, it ends the session that came
//!   of it. So does a refresh token that was replaced.
//! - Answers name who answers (RFC 9207), and the identity provider's are checked for it.
//! - Everything from outside is bounded; a registration costs no memory, neither does a page that asks, and a login under way
//!   is kept by its browser, sealed. So however much one client begins, there is room for the others. A document that is slow
//!   to come keeps nobody else's waiting, and a person has a bounded number of sessions.

mod answer;
mod authorize;
mod callback;
mod client;
mod config;
mod consent;
mod document;
mod keys;
mod login;
mod lookup;
mod oidc;
mod page;
mod person;
mod record;
mod redirect;
mod session;
mod token;
mod upstream;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastmcp_guard::clock::Clock;
use fastmcp_guard::random::Random;
use futures_core::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use serde_json::json;

use self::answer::{Answer, Refused};
use self::client::Clients;
use self::login::Spent;
use self::record::Vault;
use self::session::Line;
use self::upstream::Asking;
use crate::algorithm::Algorithm;
use crate::authenticator::Authenticator;
use crate::challenge::Challenger;
use crate::error::ConfigError;
use crate::jwt::{JwtConfig, JwtVerifier};
use crate::metadata::ResourceMetadata;
use crate::oauth::identifier::split_origin;
use crate::oauth::network::{Network, NetworkConfig};
use crate::verifier::{CacheConfig, CachedVerifier};

pub use config::{Admit, Backing, Consent, Lifetimes, OAuthProxyConfig};
pub use document::{ClientDocument, DocumentError, DocumentProblem, DocumentProof};
pub use keys::ProxyKeys;
pub(crate) use oidc::remote_keys;
pub use oidc::{OidcError, OidcProxy};
pub use redirect::RedirectRules;
pub use session::UpstreamTokenError;
pub use upstream::{ClientAuthentication, IdTokenVerifier, ScopeNames, Upstream, Verification};

/// The well-known path, before that of the issuer.
const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";

/// In how many lines sessions wait for their tokens to be renewed.
const LINES: usize = 64;

/// By how much the clocks of replicas may differ.
const LEEWAY: Duration = Duration::from_secs(30);

/// An endpoint of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// What describes the proxy (RFC 8414).
    Metadata,
    /// Where clients register themselves (RFC 7591).
    Register,
    /// Where clients send people to.
    Authorize,
    /// Where the page that asks them sends its form to.
    Consent,
    /// Where the identity provider sends them back to.
    Callback,
    /// Where codes and refresh tokens are redeemed.
    Token,
    /// Where tokens are taken back (RFC 7009).
    Revoke,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Metadata,
        Self::Register,
        Self::Authorize,
        Self::Consent,
        Self::Callback,
        Self::Token,
        Self::Revoke,
    ];

    /// The methods that it takes.
    #[must_use]
    pub fn methods(self) -> Vec<Method> {
        match self {
            Self::Authorize | Self::Callback => vec![Method::GET],
            Self::Consent => vec![Method::POST],
            Self::Metadata => vec![Method::GET, Method::OPTIONS],
            Self::Register | Self::Token | Self::Revoke => vec![Method::POST, Method::OPTIONS],
        }
    }

    /// Whether programs ask it, from pages of other origins too; the others are for people, and rest on a cookie.
    #[must_use]
    pub const fn is_for_programs(self) -> bool {
        !matches!(self, Self::Authorize | Self::Consent | Self::Callback)
    }

    /// The most bytes of a body that it takes.
    #[must_use]
    pub const fn max_body(self) -> usize {
        match self {
            Self::Authorize | Self::Callback | Self::Metadata => 0,
            Self::Register | Self::Consent => 16 * 1024,
            Self::Token | Self::Revoke => 32 * 1024,
        }
    }
}

/// An authorization server in front of an identity provider that registers no clients; see the [module](self).
///
/// Cheap to clone; clones are one proxy. It is a [`TokenVerifier`](crate::TokenVerifier) of the tokens that it issues. The
/// framework mounts it (`FastMcp::auth_provider`); other servers hand requests to [`answer`](Self::answer).
#[derive(Clone)]
pub struct OAuthProxy {
    inner: Arc<Inner>,
}

struct Inner {
    config: OAuthProxyConfig,
    resource: String,
    described: ResourceMetadata,
    challenger: Challenger,
    name: String,
    keys: Arc<ProxyKeys>,
    vault: Vault,
    clients: Clients,
    /// The way to the identity provider.
    network: Network,
    /// The way to what clients name, on which the hosts of the identity provider have no privilege.
    documents: Network,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// Checks the tokens that it issued.
    own: JwtVerifier,
    /// Checks the tokens of the identity provider.
    verification: Verification,
    /// Whether browsers reach it by `https`.
    secure: bool,
    /// The logins that were used lately.
    spent: Spent,
    /// Who renews the tokens of a session waits here.
    lines: Vec<Line>,
}

impl OAuthProxy {
    /// A proxy that is set up so.
    ///
    /// # Errors
    /// If a setting cannot work.
    pub fn new(config: OAuthProxyConfig, backing: Backing) -> Result<Self, ConfigError> {
        config.check()?;
        let resource = config.resource();
        let own = JwtConfig {
            algorithms: vec![Algorithm::EdDsa],
            leeway: LEEWAY,
            ..JwtConfig::new(config.base_url.as_str(), resource.as_str())
        };
        let unfit = |problem| ConfigError::Unfit {
            field: "oauth proxy",
            value: config.base_url.clone(),
            problem,
        };
        let way = |network: &NetworkConfig| {
            let way = Network::with(network, None, 0);
            way.map_err(|_| unfit("has network settings that cannot be used"))
        };
        let network = way(&config.upstream.network(&config.network)?)?;
        let documents = way(&config.network)?;
        let owner = format!("{}\n{resource}", config.base_url);
        let vault = Vault::new(backing.store, Arc::clone(&backing.keys), owner);
        let vault = vault.map_err(|_| unfit("cannot use its store"))?;
        let verification = cached(&config.upstream.verification, &backing.clock)?;
        let host = split_origin(&config.base_url).0;
        let host = host.split_once("://").map_or(host, |(_, host)| host);
        let name = config.name.clone().unwrap_or_else(|| host.to_owned());
        let described = ResourceMetadata::new(&resource, [config.base_url.as_str()])?
            .with_scopes(public(config.known_scopes()))?
            .with_name(name.as_str());
        let challenger = Challenger::new()
            .with_resource_metadata(&described.url())?
            .with_scopes(public(config.required_scopes.clone()))?;
        let inner = Inner {
            name,
            described,
            challenger,
            own: JwtVerifier::new(own, backing.keys.verifying(), Arc::clone(&backing.clock))?,
            clients: Clients::new(Arc::clone(&backing.keys), &config),
            secure: config.base_url.starts_with("https://"),
            spent: Spent::default(),
            keys: backing.keys,
            vault,
            network,
            documents,
            clock: backing.clock,
            random: backing.random,
            verification,
            lines: std::iter::repeat_with(Line::default).take(LINES).collect(),
            resource,
            config,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The path of an endpoint, as requests name it.
    #[must_use]
    pub fn path(&self, endpoint: Endpoint) -> String {
        self.inner.path(endpoint)
    }

    /// Answers a request to an endpoint, whose body was read whole.
    ///
    /// # Cancel safety
    /// What was begun with the identity provider goes on when the future is dropped, where tokens would be lost otherwise.
    pub fn answer(
        &self,
        endpoint: Endpoint,
        request: Request<Bytes>,
    ) -> BoxFuture<'static, Response<Bytes>> {
        let proxy = self.clone();
        Box::pin(async move { proxy.respond(endpoint, &request).await })
    }

    async fn respond(&self, endpoint: Endpoint, request: &Request<Bytes>) -> Answer {
        let method = request.method();
        if method == Method::OPTIONS && endpoint.is_for_programs() {
            return answer::preflight();
        }
        // A program that looks at links ahead must use nothing up.
        let unfit = if !endpoint.methods().contains(method) {
            Some(StatusCode::METHOD_NOT_ALLOWED)
        } else if request.body().len() > endpoint.max_body() {
            Some(StatusCode::PAYLOAD_TOO_LARGE)
        } else {
            None
        };
        if let Some(status) = unfit {
            let refused = Refused::new("invalid_request", "the request does not fit the endpoint");
            return answer::refusal(&Refused { status, ..refused });
        }
        let answered = match endpoint {
            Endpoint::Metadata => Ok(self.inner.metadata()),
            Endpoint::Register => self
                .inner
                .clients
                .register(request.body(), self.inner.clock.now()),
            Endpoint::Token => self.token(request).await,
            Endpoint::Revoke => self.revoke(request).await,
            Endpoint::Authorize => return self.inner.authorize(request).await,
            Endpoint::Consent => return self.inner.consent(request),
            Endpoint::Callback => return self.inner.callback(request).await,
        };
        answered.unwrap_or_else(|refused| answer::refusal(&refused))
    }

    /// What lets callers in who have a token of this proxy, and tells the others where to get one.
    #[must_use]
    pub fn authenticator(&self) -> Authenticator {
        Authenticator::new(Arc::new(self.clone()), self.inner.challenger.clone())
    }

    /// What tells clients that this proxy issues the tokens for this server (RFC 9728).
    #[must_use]
    pub fn resource_metadata(&self) -> ResourceMetadata {
        self.inner.described.clone()
    }

    /// Who a token must be for: the URL at which MCP is served.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.inner.resource
    }
}

impl Inner {
    fn path(&self, endpoint: Endpoint) -> String {
        let config = &self.config;
        match endpoint {
            // Source: RFC 8414, section 3.1: before the path of the issuer.
            Endpoint::Metadata => format!("{WELL_KNOWN}{}", config.path("")),
            Endpoint::Register => config.path("/register"),
            Endpoint::Authorize => config.path("/authorize"),
            Endpoint::Consent => config.path("/consent"),
            Endpoint::Callback => config.path(&config.callback_path),
            Endpoint::Token => config.path("/token"),
            Endpoint::Revoke => config.path("/revoke"),
        }
    }

    fn issuer(&self) -> &str {
        &self.config.base_url
    }

    fn asking(&self) -> Asking<'_> {
        Asking {
            upstream: &self.config.upstream,
            network: &self.network,
            now: self.clock.now(),
        }
    }

    /// Source: RFC 8414, section 2; RFC 9207, section 3; the draft of client id metadata documents, section 5.
    fn metadata(&self) -> Answer {
        let at = |beneath: &str| format!("{}{beneath}", self.config.base_url);
        let mut document = json!({
            "issuer": self.issuer(),
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "revocation_endpoint": at("/revoke"),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": self.config.metadata_documents,
            "scopes_supported": public(self.config.known_scopes()),
        });
        if let (true, Some(document)) = (self.config.registration, document.as_object_mut()) {
            document.insert("registration_endpoint".to_owned(), at("/register").into());
        }
        answer::json(StatusCode::OK, &document)
    }
}

/// `offline_access` is between this server and the identity provider.
fn public(mut scopes: Vec<String>) -> Vec<String> {
    scopes.retain(|scope| scope != crate::challenge::OFFLINE_ACCESS);
    scopes
}

/// Puts a cache in front of what checks the tokens of the identity provider.
fn cached(of: &Verification, clock: &Arc<dyn Clock>) -> Result<Verification, ConfigError> {
    let cache = |verifier: &Arc<dyn crate::TokenVerifier>| {
        let config = CacheConfig::default();
        CachedVerifier::new(Arc::clone(verifier), Arc::clone(clock), &config)
    };
    Ok(match of {
        Verification::Token(token) => Verification::Token(Arc::new(cache(token)?)),
        Verification::IdToken(id_token) => Verification::IdToken(Arc::clone(id_token)),
        Verification::Both(token, id_token) => {
            Verification::Both(Arc::new(cache(token)?), Arc::clone(id_token))
        }
    })
}

impl fmt::Debug for OAuthProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthProxy")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}
