//! A proxy that is set up from what an identity provider says about itself.
//!
//! Source: OpenID Connect Discovery 1.0, section 4; RFC 8414, section 3.

use std::sync::Arc;

use bytes::Bytes;
use fastmcp_guard::http::AllowedHost;
use futures_core::future::BoxFuture;
use secrecy::SecretString;
use url::Url;

use super::OAuthProxy;
use super::config::{Backing, OAuthProxyConfig};
use super::upstream::{ClientAuthentication, IdTokenVerifier, Upstream, Verification};
use crate::claims::ClaimNames;
use crate::endpoint;
use crate::error::ConfigError;
use crate::jwt::{JwtConfig, JwtVerifier};
use crate::keys::{Fetch, FetchError, KeySource, RemoteKeys, RemoteKeysConfig};
use crate::oauth::discovery::ServerMetadata;
use crate::oauth::error::OAuthError;
use crate::oauth::network::{Network, NetworkConfig};
use crate::verifier::TokenVerifier;

/// Why a proxy cannot be set up from an issuer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OidcError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What the issuer says about itself cannot be had, or is of somebody else.
    #[error(transparent)]
    Discovery(#[from] OAuthError),
}

/// An [`OAuthProxy`] in front of an OpenID Connect issuer, whose endpoints and keys are found by its discovery document.
///
/// Who logged in is known by the ID token; with an [`audience`](Self::audience), by the access token too, a JWT for that
/// audience. ID tokens must be signed with a public key, as all well-known issuers do.
///
/// ```
/// # use fastmcp_auth::proxy::{Backing, OAuthProxy, OidcError, OidcProxy};
/// # async fn example(backing: Backing, secret: secrecy::SecretString) -> Result<OAuthProxy, OidcError> {
/// let proxy = OidcProxy::new("https://idp.example", ("client-id", secret), "https://tools.example")
///     .required_scopes(["email"])
///     .build(backing)
///     .await?;
/// # Ok(proxy)
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OidcProxy {
    issuer: String,
    name: Option<String>,
    client_id: String,
    client_secret: SecretString,
    base_url: String,
    audience: Option<String>,
    names: ClaimNames,
    scopes: Vec<String>,
    required_scopes: Vec<String>,
    network: NetworkConfig,
}

impl OidcProxy {
    /// In front of `issuer`, exactly as it calls itself (`https://` or `http://` to this machine), as the client that was
    /// entered there, for the server that is reached under `base_url`.
    #[must_use]
    pub fn new(
        issuer: impl Into<String>,
        (client_id, client_secret): (impl Into<String>, SecretString),
        base_url: impl Into<String>,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            name: None,
            client_id: client_id.into(),
            client_secret,
            base_url: base_url.into(),
            audience: None,
            names: ClaimNames::default(),
            scopes: Vec::new(),
            required_scopes: Vec::new(),
            network: NetworkConfig::default(),
        }
    }

    /// How people know the issuer. Default: its host.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Asks for access tokens for this audience, and verifies them too.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Under which names the tokens of the issuer say what.
    #[must_use]
    pub fn claim_names(mut self, names: ClaimNames) -> Self {
        self.names = names;
        self
    }

    /// The scopes that clients may ask for.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// The scopes that every caller must bring.
    #[must_use]
    pub fn required_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.required_scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// How the issuer is reached. Its own host is allowed wherever it is.
    #[must_use]
    pub fn network(mut self, network: NetworkConfig) -> Self {
        self.network = network;
        self
    }

    /// What the issuer says, as settings that can still be changed.
    ///
    /// # Errors
    /// If the issuer cannot be asked, its document is of another issuer or lacks an endpoint, or a setting cannot work.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the requests.
    pub async fn config(&self, backing: &Backing) -> Result<OAuthProxyConfig, OidcError> {
        let url = endpoint::parse("issuer", &self.issuer)?;
        let unfit = |problem| ConfigError::Unfit {
            field: "issuer",
            value: self.issuer.clone(),
            problem,
        };
        let host = AllowedHost::of_url(&url).map_err(|_| unfit("has no host"))?;
        let network = self.network.clone().allow_host(host);
        let way = Network::new(&network, None)?;
        let said = ServerMetadata::find(&way, &self.issuer).await?;
        let endpoint = said.authorization_endpoint.clone();
        let endpoint = endpoint.ok_or_else(|| unfit("announces no authorization endpoint"))?;
        let token_endpoint = said.token_endpoint()?.to_owned();
        let keys = remote_keys(RemoteKeysConfig::discover(&self.issuer), way)?;
        let id_token = IdTokenVerifier::new(
            &self.issuer,
            &self.client_id,
            self.names.clone(),
            keys.clone(),
            backing.clock(),
        )?;
        let verification = match &self.audience {
            None => Verification::IdToken(Arc::new(id_token)),
            Some(audience) => {
                let config = JwtConfig {
                    claims: self.names.clone(),
                    ..JwtConfig::new(self.issuer.as_str(), audience.as_str())
                };
                let token: Arc<dyn TokenVerifier> =
                    Arc::new(JwtVerifier::new(config, keys, backing.clock())?);
                Verification::Both(token, Arc::new(id_token))
            }
        };
        let name = self.name.clone();
        let name = name.unwrap_or_else(|| url.host_str().unwrap_or_default().to_owned());
        let client = (self.client_id.as_str(), self.client_secret.clone());
        let mut upstream = Upstream::new(name, endpoint, token_endpoint, client, verification);
        upstream.issuer = Some(self.issuer.clone());
        upstream
            .revocation_endpoint
            .clone_from(&said.revocation_endpoint);
        if said.takes_method("client_secret_basic") == Some(false)
            && said.takes_method("client_secret_post") == Some(true)
        {
            upstream.authentication = ClientAuthentication::Post;
        }
        upstream.scopes.push("openid".to_owned());
        if said.lists_scope("offline_access") {
            upstream.scopes.push("offline_access".to_owned());
        }
        if let Some(audience) = &self.audience {
            let audience = ("audience".to_owned(), audience.clone());
            upstream.authorize_parameters.push(audience);
        }
        let mut config = OAuthProxyConfig::new(self.base_url.as_str(), upstream);
        config.scopes.clone_from(&self.scopes);
        config.required_scopes.clone_from(&self.required_scopes);
        config.network = self.network.clone();
        Ok(config)
    }

    /// Asks the issuer, and makes the proxy.
    ///
    /// # Errors
    /// As [`config`](Self::config).
    ///
    /// # Cancel safety
    /// Dropping the future abandons the requests.
    pub async fn build(&self, backing: Backing) -> Result<OAuthProxy, OidcError> {
        let config = Box::pin(self.config(&backing)).await?;
        Ok(OAuthProxy::new(config, backing)?)
    }
}

/// Keys that are fetched over the network of a proxy.
pub(crate) fn remote_keys(
    config: RemoteKeysConfig,
    network: Network,
) -> Result<KeySource, ConfigError> {
    let keys = RemoteKeys::new(config, Arc::new(Way(network)))?;
    Ok(KeySource::Remote(Arc::new(keys)))
}

/// Gets documents over the network of a proxy.
#[derive(Debug)]
struct Way(Network);

impl Fetch for Way {
    fn get<'a>(&'a self, url: &'a Url) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        Box::pin(async move {
            let found = self
                .0
                .document("a document of the issuer", url.as_str())
                .await;
            match found {
                Ok(Some(document)) => Ok(document),
                Ok(None) => Err(FetchError::Status { status: 404 }),
                Err(OAuthError::Status { status, .. }) => Err(FetchError::Status { status }),
                Err(error) => Err(FetchError::Connection(Box::new(error))),
            }
        })
    }
}
