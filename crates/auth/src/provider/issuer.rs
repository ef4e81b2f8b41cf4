//! Providers that say all about themselves in a discovery document.

use secrecy::SecretString;

use super::{Application, told, trimmed};
use crate::claims::{ClaimName, ClaimNames};
use crate::error::ConfigError;
use crate::proxy::{Backing, OAuthProxy, OAuthProxyConfig, OidcError, OidcProxy};

/// How a provider with a discovery document becomes a proxy.
macro_rules! discovered {
    ($provider:ident) => {
        told!($provider);

        impl $provider {
            /// What the provider says, as settings of a proxy that can still be changed.
            ///
            /// # Errors
            /// As [`OidcProxy::config`].
            ///
            /// # Cancel safety
            /// Dropping the future abandons the requests.
            pub async fn config(&self, backing: &Backing) -> Result<OAuthProxyConfig, OidcError> {
                self.proxy()?.config(backing).await
            }

            /// Asks the provider, and makes the proxy.
            ///
            /// # Errors
            /// As [`OidcProxy::config`].
            ///
            /// # Cancel safety
            /// Dropping the future abandons the requests.
            pub async fn build(&self, backing: Backing) -> Result<OAuthProxy, OidcError> {
                self.proxy()?.build(backing).await
            }
        }
    };
}

impl Application {
    fn behind(&self, issuer: &str, name: &str) -> OidcProxy {
        OidcProxy::new(issuer, self.client(), self.base_url.as_str())
            .name(name)
            .scopes(&self.scopes)
            .required_scopes(&self.required_scopes)
            .network(self.network.clone())
    }
}

/// Auth0: a "Regular Web Application" with the callback URL `https://your.server/auth/callback`, and an API whose identifier is the
/// audience.
///
/// Who logged in is known by the ID token and the access token, which is a JWT for that audience. Every caller needs the scope
/// `openid`, unless others are required.
#[derive(Clone, Debug)]
pub struct Auth0Provider {
    application: Application,
    issuer: String,
    audience: String,
}

discovered!(Auth0Provider);

impl Auth0Provider {
    /// The application with this id and secret of the tenant at `domain` (such as `https://your-tenant.eu.auth0.com`), for the API
    /// `audience` and the server that is reached under `base_url`.
    #[must_use]
    pub fn new(
        domain: impl Into<String>,
        audience: impl Into<String>,
        client: (impl Into<String>, SecretString),
        base_url: impl Into<String>,
    ) -> Self {
        let mut application = Application::new(client, base_url);
        application.required_scopes = vec!["openid".to_owned()];
        let domain = trimmed(domain);
        let scheme = if domain.contains("://") {
            ""
        } else {
            "https://"
        };
        Self {
            application,
            // Auth0 calls itself with a `/` at the end.
            issuer: format!("{scheme}{domain}/"),
            audience: audience.into(),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "the form that all of them have")]
    fn proxy(&self) -> Result<OidcProxy, ConfigError> {
        let proxy = self.application.behind(&self.issuer, "Auth0");
        Ok(proxy.audience(self.audience.as_str()))
    }
}

/// Amazon Cognito: an app client with a secret of a user pool, with the callback URL `https://your.server/auth/callback`.
///
/// Who logged in is known by the ID token, since Cognito's access tokens name no audience. `cognito:groups` are the caller's roles.
/// Every caller needs the scope `openid`, unless others are required.
#[derive(Clone, Debug)]
pub struct AwsCognitoProvider {
    application: Application,
    issuer: String,
}

discovered!(AwsCognitoProvider);

impl AwsCognitoProvider {
    /// The app client with this id and secret of the user pool `pool` (such as `eu-central-1_AbCdEfGhI`), whose region stands in its
    /// name, for the server that is reached under `base_url`.
    #[must_use]
    pub fn new(
        pool: &str,
        client: (impl Into<String>, SecretString),
        base_url: impl Into<String>,
    ) -> Self {
        let mut application = Application::new(client, base_url);
        application.required_scopes = vec!["openid".to_owned()];
        let region = pool.split_once('_').map_or(pool, |(region, _)| region);
        Self {
            application,
            issuer: format!("https://cognito-idp.{region}.amazonaws.com/{pool}"),
        }
    }

    /// The user pool at another URL, which is its issuer: for tests.
    #[must_use]
    pub fn at(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = trimmed(issuer);
        self
    }

    fn proxy(&self) -> Result<OidcProxy, ConfigError> {
        let names = ClaimNames {
            roles: vec![ClaimName::parse("cognito:groups")?],
            ..ClaimNames::default()
        };
        let proxy = self.application.behind(&self.issuer, "Amazon Cognito");
        Ok(proxy.claim_names(names))
    }
}

/// Hugging Face: an OAuth app of an account's settings, with the redirect URL `https://your.server/auth/callback`.
///
/// Claims are those of the ID token. Every caller needs the scopes `openid` and `profile`, unless others are required.
#[derive(Clone, Debug)]
pub struct HuggingFaceProvider {
    application: Application,
    issuer: String,
}

discovered!(HuggingFaceProvider);

impl HuggingFaceProvider {
    /// The app with this id and secret, for the server that is reached under `base_url`.
    #[must_use]
    pub fn new(client: (impl Into<String>, SecretString), base_url: impl Into<String>) -> Self {
        let mut application = Application::new(client, base_url);
        application.required_scopes = ["openid", "profile"].map(str::to_owned).into();
        Self {
            application,
            issuer: "https://huggingface.co".to_owned(),
        }
    }

    /// Another hub, by its URL: for tests.
    #[must_use]
    pub fn at(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = trimmed(issuer);
        self
    }

    #[expect(clippy::unnecessary_wraps, reason = "the form that all of them have")]
    fn proxy(&self) -> Result<OidcProxy, ConfigError> {
        Ok(self.application.behind(&self.issuer, "Hugging Face"))
    }
}
