//! Signed statements of who a client is: made with a key of its own, or fetched from somebody who vouches for it.
//!
//! Source: RFC 7521; RFC 7523, sections 2.2 and 3; OpenID Connect Core 1.0, section 9 (`private_key_jwt`).

use std::fmt;
use std::time::Duration;

use fastmcp_guard::clock::Clock;
use fastmcp_guard::random::Random;
use futures_core::future::BoxFuture;
use jsonwebtoken::EncodingKey;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::error::OAuthError;
use super::pkce::unguessable;
use crate::algorithm::{Algorithm, Family};
use crate::error::ConfigError;
use crate::signing;

/// How long an assertion is good.
const LIFETIME: Duration = Duration::from_secs(120);

/// A private key that a client proves itself with.
#[derive(Clone)]
pub struct AssertionKey {
    key: EncodingKey,
    algorithm: Algorithm,
    kid: Option<String>,
}

impl AssertionKey {
    /// A key in PEM (PKCS#8, `BEGIN PRIVATE KEY`), to sign with `algorithm`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::UnfitSecret`] if it is no key for that algorithm.
    pub fn from_pem(pem: &SecretString, algorithm: Algorithm) -> Result<Self, ConfigError> {
        let bytes = pem.expose_secret().as_bytes();
        let key = match algorithm.family() {
            Family::Rsa => EncodingKey::from_rsa_pem(bytes),
            Family::P256 | Family::P384 => EncodingKey::from_ec_pem(bytes),
            Family::Ed25519 => EncodingKey::from_ed_pem(bytes),
        };
        let key = Self {
            key: key.map_err(|_| unfit())?,
            algorithm,
            kid: None,
        };
        // A key on another curve is noticed when it signs.
        signing::sign(&json!({}), &json!({}), &key.key, algorithm).ok_or_else(unfit)?;
        Ok(key)
    }

    /// Names the key, as the client's published key set does.
    #[must_use]
    pub fn with_key_id(mut self, kid: impl Into<String>) -> Self {
        self.kid = Some(kid.into());
        self
    }

    /// The algorithm that it signs with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The client's statement to the authorization server `issuer` that it is `client_id`.
    ///
    /// Its audience is the issuer alone: an audience that a server could name for another would let it replay the
    /// statement there.
    pub(crate) fn client_assertion(
        &self,
        client_id: &str,
        issuer: &str,
        clock: &dyn Clock,
        random: &dyn Random,
    ) -> Result<SecretString, OAuthError> {
        let now = clock.now().unix_seconds();
        let mut header = json!({"alg": self.algorithm.name(), "typ": "JWT"});
        if let (Some(kid), Some(header)) = (&self.kid, header.as_object_mut()) {
            header.insert("kid".to_owned(), json!(kid));
        }
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": issuer,
            "iat": now,
            "exp": now.saturating_add(LIFETIME.as_secs()),
            "jti": unguessable(random)?,
        });
        signing::sign(&header, &claims, &self.key, self.algorithm)
            .map(SecretString::from)
            .ok_or(OAuthError::Key {
                what: "the client's key",
                reason: "it does not sign",
            })
    }
}

impl fmt::Debug for AssertionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssertionKey")
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

const fn unfit() -> ConfigError {
    ConfigError::UnfitSecret {
        field: "private key",
        problem: "is no key for the algorithm: give one in PEM (`BEGIN PRIVATE KEY`) that fits it",
    }
}

/// Fetches a statement that somebody else signed: a platform's workload token, a user's ID token.
pub trait AssertionSource: Send + Sync + fmt::Debug {
    /// Returns a statement for `audience`, the issuer that will check it. It is fetched anew for each token request.
    ///
    /// # Errors
    ///
    /// Any, if there is none.
    fn assertion<'a>(
        &'a self,
        audience: &'a str,
    ) -> BoxFuture<'a, Result<SecretString, Box<dyn std::error::Error + Send + Sync>>>;
}

/// One statement for every audience.
impl AssertionSource for SecretString {
    fn assertion<'a>(
        &'a self,
        _audience: &'a str,
    ) -> BoxFuture<'a, Result<SecretString, Box<dyn std::error::Error + Send + Sync>>> {
        Box::pin(async { Ok(self.clone()) })
    }
}
