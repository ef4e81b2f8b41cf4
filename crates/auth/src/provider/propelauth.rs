//! PropelAuth: an authorization server that explains its tokens when it is asked.

use std::sync::Arc;

use fastmcp_guard::clock::Clock;
use secrecy::SecretString;

use super::{RemoteAuthProvider, trimmed};
use crate::error::ConfigError;
use crate::verifier::{
    CacheConfig, CachedVerifier, Introspection, IntrospectionConfig, LookupConfig, LookupVerifier,
};

/// PropelAuth, with MCP authentication enabled in its dashboard: clients register and log in there, and bring its tokens, about which
/// it is asked, once a minute at most for each.
///
/// Create the credentials for that under "Request Validation". Tokens must be for this server: clients name the URL of MCP as the
/// `resource` when they ask for one, and it comes back as the audience; tokens without it are refused.
///
/// Source: docs.propelauth.com, "MCP Authentication API Reference"; RFC 7662; RFC 8707.
#[derive(Clone, Debug)]
pub struct PropelAuthProvider {
    auth_url: String,
    client_id: String,
    client_secret: SecretString,
    resource: String,
    audience: Option<String>,
    required_scopes: Vec<String>,
}

impl PropelAuthProvider {
    /// The PropelAuth at `auth_url` (such as `https://auth.example.com`), asked with these credentials, for MCP at the URL `resource`.
    #[must_use]
    pub fn new(
        auth_url: impl Into<String>,
        (client_id, client_secret): (impl Into<String>, SecretString),
        resource: impl Into<String>,
    ) -> Self {
        Self {
            auth_url: trimmed(auth_url),
            client_id: client_id.into(),
            client_secret,
            resource: resource.into(),
            audience: None,
            required_scopes: Vec::new(),
        }
    }

    /// Who tokens must be for. Default: the URL of MCP.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// The scopes that every caller must bring.
    #[must_use]
    pub fn required_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.required_scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Makes what lets callers in.
    ///
    /// # Errors
    /// If a setting cannot work.
    pub fn build(&self, clock: Arc<dyn Clock>) -> Result<RemoteAuthProvider, ConfigError> {
        // The issuer of the tokens for MCP is not that of the tokens for people.
        let server = format!("{}/oauth/2.1", self.auth_url);
        let audience = self.audience.as_ref().unwrap_or(&self.resource);
        let mut config = IntrospectionConfig::new(
            format!("{server}/introspect"),
            self.client_id.as_str(),
            self.client_secret.clone(),
            audience.as_str(),
        );
        // Nobody else's tokens are taken here, so that whatever comes is its own.
        config.jwts = true;
        let tokens = Introspection::new(config, Arc::clone(&clock))?;
        let config = LookupConfig {
            issuer: Some(server.clone()),
            required_scopes: self.required_scopes.clone(),
            ..LookupConfig::default()
        };
        let verifier = Arc::new(LookupVerifier::new(tokens, config, Arc::clone(&clock)));
        let verifier = CachedVerifier::new(verifier, clock, &CacheConfig::default())?;
        RemoteAuthProvider::new(Arc::new(verifier), &self.resource, [server])
    }
}
