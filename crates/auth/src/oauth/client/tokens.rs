//! Tokens as they are held.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fastmcp_guard::clock::Timestamp;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::super::dpop::{PROOF, ProofKey, Purpose};
use super::super::error::OAuthError;
use super::super::grant::{Granted, Tools};
use super::super::registration::Client;
use super::super::scope::Scopes;

/// How long before its end a token is renewed, if it lives long enough; others in the last tenth of their life.
const MARGIN: Duration = Duration::from_secs(30);

/// A token, and what is needed to use and to renew it.
pub(super) struct Tokens {
    pub(super) issuer: String,
    pub(super) resource: String,
    /// None where a statement said it all.
    pub(super) client: Option<Client>,
    pub(super) access_token: SecretString,
    pub(super) refresh_token: Option<SecretString>,
    /// The key that the token is bound to.
    pub(super) key: Option<Arc<ProofKey>>,
    pub(super) requested: Scopes,
    pub(super) granted: Scopes,
    pub(super) obtained_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
}

/// What tokens were asked for with.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) issuer: String,
    pub(super) resource: String,
    pub(super) client: Option<Client>,
    pub(super) key: Option<Arc<ProofKey>>,
    pub(super) scopes: Scopes,
    /// Whether a token that is not bound to the key is refused.
    pub(super) bound_only: bool,
}

impl Tokens {
    /// Takes what was granted to what was asked for.
    pub(super) fn new(asked: Asked, granted: Granted, now: Timestamp) -> Result<Self, OAuthError> {
        let refuse = |lacks: &str| {
            Err(OAuthError::Unsupported {
                issuer: asked.issuer.clone(),
                lacks: lacks.to_owned(),
            })
        };
        let is = |name| granted.token_type.eq_ignore_ascii_case(name);
        let key = match asked.key {
            Some(key) if is("dpop") => Some(key),
            _ if is("bearer") && !asked.bound_only => None,
            _ if is("bearer") => {
                return refuse("gave a token that is not bound to this client's key");
            }
            _ => return refuse("gave a token of a type that cannot be used"),
        };
        let expires_at = granted
            .expires_in
            .map(|seconds| now.saturating_add(Duration::from_secs(seconds)));
        Ok(Self {
            // Without a word on it, what was asked for was granted (RFC 6749, section 5.1).
            granted: granted.scope.unwrap_or_else(|| asked.scopes.clone()),
            requested: asked.scopes,
            issuer: asked.issuer,
            resource: asked.resource,
            client: asked.client,
            access_token: granted.access_token,
            refresh_token: granted.refresh_token,
            key,
            obtained_at: now,
            expires_at,
        })
    }

    /// Whether it is time to renew.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| {
            let margin = MARGIN.min(end.since(self.obtained_at) / 10);
            end.saturating_sub(margin) <= now
        })
    }

    /// Whether the token is no longer good.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether the token is bound to a key.
    pub(super) const fn is_bound(&self) -> bool {
        self.key.is_some()
    }

    /// Whether both are one token.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.access_token.expose_secret() == other.access_token.expose_secret()
    }

    fn authorization(&self) -> String {
        let scheme = if self.is_bound() { "DPoP" } else { "Bearer" };
        format!("{scheme} {}", self.access_token.expose_secret())
    }

    /// Whether `authorization` is what this token is sent as.
    pub(super) fn is_sent_as(&self, authorization: &HeaderValue) -> bool {
        authorization.as_bytes() == self.authorization().as_bytes()
    }

    /// The headers of one request.
    pub(super) fn headers(
        &self,
        method: &str,
        url: &str,
        tools: Tools<'_>,
    ) -> Result<HeaderMap, OAuthError> {
        let mut value =
            HeaderValue::try_from(self.authorization()).map_err(|_| OAuthError::Key {
                what: "the token",
                reason: "it cannot be sent in a header",
            })?;
        value.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value);
        if let Some(key) = &self.key {
            let nonce = tools.nonces.of(url);
            let purpose = Purpose {
                method,
                url,
                nonce: nonce.as_deref(),
                token: Some(self.access_token.expose_secret()),
            };
            headers.insert(PROOF, key.proof(purpose, tools.clock, tools.random)?);
        }
        Ok(headers)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("issuer", &self.issuer)
            .field("resource", &self.resource)
            .field("granted", &self.granted)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
