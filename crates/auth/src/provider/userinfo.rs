//! Providers whose access tokens only they can read, and whose user endpoint is that of OpenID Connect.
//!
//! Source: OpenID Connect Core 1.0, section 5.3; workos.com/docs/authkit/connect; clerk.com/docs, "OAuth".

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::probe::{Known, Probe, Shown};
use super::{Application, built, trimmed};
use crate::error::ConfigError;
use crate::proxy::{Backing, OAuthProxyConfig, Upstream, Verification};

/// What of a user becomes claims, beside `sub`.
const CLAIMS: [&str; 8] = [
    "email",
    "email_verified",
    "name",
    "given_name",
    "family_name",
    "preferred_username",
    "picture",
    "locale",
];

/// Where a provider of this kind has its endpoints.
struct Beneath<'a> {
    name: &'a str,
    domain: &'a str,
    path: &'a str,
}

impl Beneath<'_> {
    fn config(
        &self,
        application: &Application,
        backing: &Backing,
    ) -> Result<OAuthProxyConfig, ConfigError> {
        let at = |last: &str| format!("{}/{}/{last}", self.domain, self.path);
        let token = Probe::verifier(
            (at("userinfo"), Shown::Bearer),
            self.domain,
            &application.network,
            backing.clock(),
            Box::new(read),
        )?;
        let upstream = Upstream::new(
            self.name,
            at("authorize"),
            at("token"),
            application.client(),
            Verification::Token(token),
        );
        Ok(application.config(upstream))
    }
}

fn read(user: &Map<String, Value>) -> Option<Known> {
    let subject = user.get("sub")?.as_str()?;
    Some(Known::person(subject.to_owned(), user, &CLAIMS))
}

/// The domain as a URL: providers write it without `https://`.
fn url(domain: impl Into<String>) -> String {
    let domain = trimmed(domain);
    if domain.starts_with("https://") || domain.starts_with("http://") {
        return domain;
    }
    format!("https://{domain}")
}

/// WorkOS Connect: an OAuth application of the WorkOS dashboard, with the redirect URI `https://your.server/auth/callback`.
/// Environments with dynamic client registration need no proxy: see [`AuthKitProvider`](super::AuthKitProvider).
///
/// Claims are those of the user endpoint: `sub`, `email`, `name` and so on. No scopes are required by default.
#[derive(Clone, Debug)]
pub struct WorkOsProvider {
    application: Application,
    domain: String,
}

built!(WorkOsProvider);

impl WorkOsProvider {
    /// The application with this id and secret, whose people log in at `authkit_domain` (such as
    /// `https://your-app.authkit.app`), for the server that is reached under `base_url`.
    #[must_use]
    pub fn new(
        authkit_domain: impl Into<String>,
        client: (impl Into<String>, SecretString),
        base_url: impl Into<String>,
    ) -> Self {
        Self {
            application: Application::new(client, base_url),
            domain: url(authkit_domain),
        }
    }

    /// The settings of the proxy.
    ///
    /// # Errors
    /// If a URL cannot be used.
    pub fn config(&self, backing: &Backing) -> Result<OAuthProxyConfig, ConfigError> {
        let of = Beneath {
            name: "WorkOS",
            domain: &self.domain,
            path: "oauth2",
        };
        of.config(&self.application, backing)
    }
}

/// Clerk: an OAuth application of an instance, with the redirect URI `https://your.server/auth/callback`.
///
/// Claims are those of the user endpoint: `sub`, `email`, `name` and so on. Every caller needs `openid`, `email` and `profile`,
/// unless others are required.
#[derive(Clone, Debug)]
pub struct ClerkProvider {
    application: Application,
    domain: String,
}

built!(ClerkProvider);

impl ClerkProvider {
    /// The application with this id and secret of the instance at `domain` (such as `your-app.clerk.accounts.dev`), for the
    /// server that is reached under `base_url`.
    #[must_use]
    pub fn new(
        domain: impl Into<String>,
        client: (impl Into<String>, SecretString),
        base_url: impl Into<String>,
    ) -> Self {
        let mut application = Application::new(client, base_url);
        application.required_scopes = ["openid", "email", "profile"].map(str::to_owned).into();
        Self {
            application,
            domain: url(domain),
        }
    }

    /// The settings of the proxy.
    ///
    /// # Errors
    /// If a URL cannot be used.
    pub fn config(&self, backing: &Backing) -> Result<OAuthProxyConfig, ConfigError> {
        let of = Beneath {
            name: "Clerk",
            domain: &self.domain,
            path: "oauth",
        };
        of.config(&self.application, backing)
    }
}
