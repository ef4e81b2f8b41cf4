//! Identity providers by name (feature `oauth-proxy`): their endpoints, how their tokens are verified, and how they call
//! things.
//!
//! | provider | as | who logged in is known by |
//! |---|---|---|
//! | [`GitHubProvider`] | proxy | the user that the API shows for the token |
//! | [`GoogleProvider`] | proxy | ID token, and what Google says of the access token |
//! | [`AzureProvider`] (Entra) | proxy | access token (JWT) |
//! | [`DiscordProvider`] | proxy | what Discord says of the access token |
//! | [`Auth0Provider`] | proxy, by discovery | ID token and access token (JWT) |
//! | [`AwsCognitoProvider`] | proxy, by discovery | ID token |
//! | [`HuggingFaceProvider`] | proxy, by discovery | ID token |
//! | [`WorkOsProvider`], [`ClerkProvider`] | proxy | the user that is shown for the token |
//! | [`OciProvider`] | proxy | ID token |
//! | [`AuthKitProvider`], [`KeycloakProvider`], [`DescopeProvider`], [`ScalekitProvider`] | [remote](RemoteAuthProvider): their own registration | access token (JWT) |
//! | [`PropelAuthProvider`] | remote | what it says of the access token (RFC 7662) |
//!
//! Each is a thin constructor over [`OAuthProxy`](crate::proxy::OAuthProxy), [`OidcProxy`](crate::proxy::OidcProxy) or
//! [`RemoteAuthProvider`]; what it does not set can be set on what its `config` returns. Other issuers of OpenID Connect need
//! no more than [`OidcProxy`](crate::proxy::OidcProxy).
//!
//! Tokens that only their provider can read are verified by asking it, once a minute at most for each.

mod azure;
mod discord;
mod github;
mod google;
mod issuer;
mod oci;
mod probe;
mod propelauth;
mod remote;
mod userinfo;

pub use azure::AzureProvider;
pub use discord::DiscordProvider;
pub use github::GitHubProvider;
pub use google::GoogleProvider;
pub use issuer::{Auth0Provider, AwsCognitoProvider, HuggingFaceProvider};
pub use oci::OciProvider;
pub use propelauth::PropelAuthProvider;
pub use remote::{
    AuthKitProvider, DescopeProvider, KeycloakProvider, RemoteAuthProvider, ScalekitProvider,
};
pub use userinfo::{ClerkProvider, WorkOsProvider};

use secrecy::SecretString;

use crate::oauth::network::NetworkConfig;

/// The client that was entered at a provider, and the server that it is.
#[derive(Clone, Debug)]
struct Application {
    client_id: String,
    client_secret: SecretString,
    base_url: String,
    scopes: Vec<String>,
    required_scopes: Vec<String>,
    network: NetworkConfig,
}

impl Application {
    fn new(
        (client_id, client_secret): (impl Into<String>, SecretString),
        base_url: impl Into<String>,
    ) -> Self {
        Self {
            client_id: client_id.into(),
            client_secret,
            base_url: base_url.into(),
            scopes: Vec::new(),
            required_scopes: Vec::new(),
            network: NetworkConfig::default(),
        }
    }

    fn client(&self) -> (&str, SecretString) {
        (&self.client_id, self.client_secret.clone())
    }

    /// A configuration of a proxy for it.
    fn config(&self, upstream: crate::proxy::Upstream) -> crate::proxy::OAuthProxyConfig {
        let mut config = crate::proxy::OAuthProxyConfig::new(self.base_url.as_str(), upstream);
        config.scopes.clone_from(&self.scopes);
        config.required_scopes.clone_from(&self.required_scopes);
        config.network = self.network.clone();
        config
    }
}

/// A URL without the `/` at its end.
fn trimmed(url: impl Into<String>) -> String {
    let url: String = url.into();
    url.trim_end_matches('/').to_owned()
}

/// What every provider that stands behind a proxy can be told.
macro_rules! told {
    ($provider:ident) => {
        impl $provider {
            /// The scopes that clients may ask for.
            #[must_use]
            pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
                self.application.scopes = scopes.into_iter().map(Into::into).collect();
                self
            }

            /// The scopes that every caller must bring, in place of the default.
            #[must_use]
            pub fn required_scopes<S: Into<String>>(
                mut self,
                scopes: impl IntoIterator<Item = S>,
            ) -> Self {
                self.application.required_scopes = scopes.into_iter().map(Into::into).collect();
                self
            }

            /// How the provider is reached.
            #[must_use]
            pub fn network(mut self, network: crate::oauth::NetworkConfig) -> Self {
                self.application.network = network;
                self
            }
        }
    };
}

/// How a provider whose endpoints are known becomes a proxy.
macro_rules! built {
    ($provider:ident) => {
        super::told!($provider);

        impl $provider {
            /// Makes the proxy.
            ///
            /// # Errors
            /// If a setting cannot work.
            pub fn build(
                &self,
                backing: crate::proxy::Backing,
            ) -> Result<crate::proxy::OAuthProxy, crate::error::ConfigError> {
                crate::proxy::OAuthProxy::new(self.config(&backing)?, backing)
            }
        }
    };
}

use {built, told};
