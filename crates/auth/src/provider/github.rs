//! GitHub.
//!
//! Source: docs.github.com, "Authorizing OAuth apps", "Scopes for OAuth apps", "Get the authenticated user".

use secrecy::SecretString;
use serde_json::Value;

use super::probe::{Known, Probe, Shown};
use super::{Application, built, trimmed};
use crate::error::ConfigError;
use crate::proxy::{
    Backing, ClientAuthentication, OAuthProxyConfig, ScopeNames, Upstream, Verification,
};

/// What of a user becomes claims, beside `sub`, which is the user's number: a login can be given up and taken by others.
const CLAIMS: [&str; 6] = [
    "login",
    "name",
    "email",
    "avatar_url",
    "html_url",
    "company",
];

/// GitHub, or GitHub Enterprise Server: an OAuth app, entered under "Developer settings" with the callback URL
/// `https://your.server/auth/callback`.
///
/// Claims: `sub` (the number of the user), `login`, `name`, `email`, `avatar_url`, `html_url`, `company`. Every caller needs
/// the scope `user`, unless others are required.
///
/// ```
/// # use fastmcp_auth::{ConfigError, provider::GitHubProvider, proxy::{Backing, OAuthProxy}};
/// # fn example(backing: Backing, secret: secrecy::SecretString) -> Result<OAuthProxy, ConfigError> {
/// let proxy = GitHubProvider::new(("client-id", secret), "https://tools.example")
///     .required_scopes(["read:user"])
///     .scopes(["repo"])
///     .build(backing)?;
/// # Ok(proxy)
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GitHubProvider {
    application: Application,
    web: String,
    api: String,
}

built!(GitHubProvider);

impl GitHubProvider {
    /// The app with this id and secret, for the server that is reached under `base_url`.
    #[must_use]
    pub fn new(client: (impl Into<String>, SecretString), base_url: impl Into<String>) -> Self {
        let mut application = Application::new(client, base_url);
        application.required_scopes = vec!["user".to_owned()];
        Self {
            application,
            web: "https://github.com".to_owned(),
            api: "https://api.github.com".to_owned(),
        }
    }

    /// GitHub Enterprise Server at `url`, whose API lies beneath `/api/v3`.
    #[must_use]
    pub fn enterprise(mut self, url: impl Into<String>) -> Self {
        self.web = trimmed(url);
        self.api = format!("{}/api/v3", self.web);
        self
    }

    /// The settings of the proxy.
    ///
    /// # Errors
    /// If a URL cannot be used.
    pub fn config(&self, backing: &Backing) -> Result<OAuthProxyConfig, ConfigError> {
        let token = Probe::verifier(
            (format!("{}/user", self.api), Shown::Bearer),
            &self.web,
            &self.application.network,
            backing.clock(),
            Box::new(|user| {
                let id = user.get("id").and_then(Value::as_u64)?;
                Some(Known::person(id.to_string(), user, &CLAIMS))
            }),
        )?;
        let at = |path: &str| format!("{}/login/oauth/{path}", self.web);
        let mut upstream = Upstream::new(
            "GitHub",
            at("authorize"),
            at("access_token"),
            self.application.client(),
            Verification::Token(token),
        );
        upstream.authentication = ClientAuthentication::Post;
        upstream.scope_names = ScopeNames::Containing(contains);
        Ok(self.application.config(upstream))
    }
}

/// Whether a scope contains another: GitHub names the wider one alone in its answer.
fn contains(granted: &str, scope: &str) -> bool {
    let (verb, area) = granted.split_once(':').unwrap_or(("", granted));
    let (asked_verb, asked_area) = scope.split_once(':').unwrap_or(("", scope));
    match (granted, scope) {
        ("user", "read:user" | "user:email" | "user:follow") => true,
        ("repo", "public_repo" | "security_events") => true,
        ("repo", _) => asked_verb == "repo",
        _ => {
            area == asked_area
                && matches!(
                    (verb, asked_verb),
                    ("admin", "write" | "read") | ("write", "read")
                )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_scopes_contain_narrower_ones() {
        for (granted, scope) in [
            ("user", "user:email"),
            ("user", "read:user"),
            ("repo", "repo:status"),
            ("repo", "public_repo"),
            ("admin:org", "read:org"),
            ("write:packages", "read:packages"),
        ] {
            assert!(contains(granted, scope), "{granted} {scope}");
        }
        for (granted, scope) in [
            ("read:org", "admin:org"),
            ("user:email", "user"),
            ("public_repo", "repo"),
            ("admin:org", "read:packages"),
            ("user", "repo"),
            ("", "repo"),
        ] {
            assert!(!contains(granted, scope), "{granted} {scope}");
        }
    }
}
