//! A bearer token and what it carries, as a tool sees it.

use std::fmt;
use std::sync::Arc;

use fastmcp_guard::clock::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

/// A token together with what is known about it.
///
/// The token itself is a secret: it is cleared from memory when the last holder lets go, and `Debug` never shows it. It
/// was made out to this server, so it must not be sent on to another one.
///
/// Source: MCP 2026-07-28, basic/authorization, "Access Token Privilege Restriction" (no token passthrough).
#[derive(Clone)]
pub struct AccessToken {
    token: SecretString,
    client_id: Option<String>,
    scopes: Vec<String>,
    expires_at: Option<Timestamp>,
    claims: Arc<Map<String, Value>>,
}

impl AccessToken {
    /// A token of which nothing else is known yet.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self {
            token: SecretString::from(token),
            client_id: None,
            scopes: Vec::new(),
            expires_at: None,
            claims: Arc::default(),
        }
    }

    /// Names the OAuth client that the token was issued to.
    #[must_use]
    pub fn with_client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Says what the token allows.
    #[must_use]
    pub fn with_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Says from when on the token is no longer good.
    #[must_use]
    pub fn with_expires_at(mut self, expires_at: Timestamp) -> Self {
        self.expires_at = Some(expires_at);
        self
    }

    /// Adds what else its issuer says about the token: the claims of a JWT or the answer of an introspection.
    #[must_use]
    pub fn with_claims(mut self, claims: impl Into<Arc<Map<String, Value>>>) -> Self {
        self.claims = claims.into();
        self
    }

    /// The token itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.token.expose_secret()
    }

    /// The OAuth client that the token was issued to.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// What the token allows; empty if it does not say.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// From when on the token is no longer good.
    #[must_use]
    pub const fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// All that its issuer says about the token.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    pub(crate) fn shared_claims(&self) -> Arc<Map<String, Value>> {
        Arc::clone(&self.claims)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Claims may hold personal data: their names are enough for a log.
        f.debug_struct("AccessToken")
            .field("token", &"[redacted]")
            .field("client_id", &self.client_id)
            .field("scopes", &self.scopes)
            .field("expires_at", &self.expires_at)
            .field("claims", &self.claims.keys().collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn debug_shows_neither_token_nor_claim_values() {
        let claims = json!({"email": "ada@example.org"});
        let token = AccessToken::new("s3cret-s3cret-s3cret")
            .with_client_id("cli")
            .with_scopes(["read"])
            .with_claims(claims.as_object().unwrap().clone());
        let shown = format!("{token:?} {:#?}", token.clone());
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(!shown.contains("ada@"), "{shown}");
        assert!(shown.contains("email") && shown.contains("cli"), "{shown}");
        assert_eq!(token.expose(), "s3cret-s3cret-s3cret");
    }
}
