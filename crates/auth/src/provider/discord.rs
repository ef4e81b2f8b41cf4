//! Discord.
//!
//! Source: docs.discord.com, "OAuth2" (Authorization Code Grant; Get Current Authorization Information).

use secrecy::SecretString;
use serde_json::Value;

use super::probe::{Known, Probe, Shown};
use super::{Application, built, trimmed};
use crate::error::ConfigError;
use crate::proxy::{Backing, OAuthProxyConfig, Upstream, Verification};

/// What of a user becomes claims, beside `sub`.
const CLAIMS: [&str; 3] = ["username", "global_name", "avatar"];

/// Discord: an application of the developer portal, with the redirect `https://your.server/auth/callback`.
///
/// Claims: `sub` (the id of the user), `username`, `global_name`, `avatar`. Every caller needs the scope `identify`, without
/// which Discord does not say who it is.
#[derive(Clone, Debug)]
pub struct DiscordProvider {
    application: Application,
    host: String,
}

built!(DiscordProvider);

impl DiscordProvider {
    /// The application with this id and secret, for the server that is reached under `base_url`.
    #[must_use]
    pub fn new(client: (impl Into<String>, SecretString), base_url: impl Into<String>) -> Self {
        let mut application = Application::new(client, base_url);
        application.required_scopes = vec!["identify".to_owned()];
        Self {
            application,
            host: "https://discord.com".to_owned(),
        }
    }

    /// Discord at another URL: for tests.
    #[must_use]
    pub fn at(mut self, url: impl Into<String>) -> Self {
        self.host = trimmed(url);
        self
    }

    /// The settings of the proxy.
    ///
    /// # Errors
    /// If a URL cannot be used.
    pub fn config(&self, backing: &Backing) -> Result<OAuthProxyConfig, ConfigError> {
        let at = |path: &str| format!("{}{path}", self.host);
        let client_id = self.application.client_id.clone();
        let token = Probe::verifier(
            (at("/api/oauth2/@me"), Shown::Bearer),
            &self.host,
            &self.application.network,
            backing.clock(),
            Box::new(move |said| {
                // A token that was issued to another application would let its owner in here.
                let application = said.get("application")?.get("id")?.as_str()?;
                let user = said.get("user").and_then(Value::as_object)?;
                let id = user.get("id")?.as_str()?;
                let ours = application == client_id;
                ours.then(|| Known::person(id.to_owned(), user, &CLAIMS))
            }),
        )?;
        let mut upstream = Upstream::new(
            "Discord",
            at("/oauth2/authorize"),
            at("/api/oauth2/token"),
            self.application.client(),
            Verification::Token(token),
        );
        upstream.revocation_endpoint = Some(at("/api/oauth2/token/revoke"));
        Ok(self.application.config(upstream))
    }
}
