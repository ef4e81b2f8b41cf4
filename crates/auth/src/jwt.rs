//! Signed tokens: JSON Web Tokens of an issuer that is trusted to name callers.
//!
//! Parsing is strict where readers are known to differ: a second member of a name is refused, as are `crit`, other types
//! than `JWT` and `at+jwt`, shared-secret algorithms, and keys that the token itself brings (`jku`, `jwk`, `x5u` are
//! never looked at). `exp`, `iss`, `aud` and `sub` must be there and well formed: jsonwebtoken lets a token pass in which
//! `aud` or `iss` is absent or malformed, checks neither `iat` nor `typ` nor `crit`, and asks the clock of the machine;
//! so it checks the signatures here, and the claims are checked below, against the clock that was handed in.
//!
//! Source: RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 (best current practices), RFC 9068 (JWT access tokens).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fastmcp_guard::clock::{Clock, Timestamp};
use futures_core::future::BoxFuture;
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::bearer::MAX_TOKEN_BYTES;
use crate::caller::{Caller, Identity};
use crate::claims::{self, ClaimError, ClaimNames, read};
use crate::error::ConfigError;
use crate::jwks::Unselected;
use crate::keys::{KeySource, NoKey};
use crate::token::AccessToken;
use crate::verifier::{TokenVerifier, VerifyError};

mod compact;

use compact::{Compact, Header};

/// What a [`JwtVerifier`] accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// The names of the issuer, compared exactly. All of them sign with the keys of one key source, so list only names
    /// of one and the same issuer; for others, put another verifier into a [`VerifierChain`](crate::VerifierChain).
    pub issuers: Vec<String>,
    /// The names of this server as an audience, compared exactly; a token must be for one of them.
    pub audiences: Vec<String>,
    /// The algorithms that are allowed. Default RS256, PS256, ES256 and EdDSA.
    pub algorithms: Vec<Algorithm>,
    /// How far the clocks of issuer and server may differ. Default 5 minutes; at most 15 minutes.
    pub leeway: Duration,
    /// Under which names the claims say what.
    pub claims: ClaimNames,
    /// Whether a token without a tenant is refused. Default no.
    pub require_tenant: bool,
    /// The scopes that every caller must bring. Default none.
    pub required_scopes: Vec<String>,
    /// The most bytes of a token. Default 16 KiB, which is also the most; at least 256 bytes.
    pub max_token_bytes: usize,
}

impl JwtConfig {
    /// The defaults, for one issuer and one audience.
    #[must_use]
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuers: vec![issuer.into()],
            audiences: vec![audience.into()],
            algorithms: vec![
                Algorithm::Rs256,
                Algorithm::Ps256,
                Algorithm::Es256,
                Algorithm::EdDsa,
            ],
            leeway: Duration::from_secs(5 * 60),
            claims: ClaimNames::default(),
            require_tenant: false,
            required_scopes: Vec::new(),
            max_token_bytes: MAX_TOKEN_BYTES,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let any_empty = |list: &[String]| list.is_empty() || list.iter().any(String::is_empty);
        ConfigError::unless_empty("issuers", any_empty(&self.issuers))?;
        ConfigError::unless_empty("audiences", any_empty(&self.audiences))?;
        ConfigError::unless_empty("algorithms", self.algorithms.is_empty())?;
        let leeway = u64::try_from(self.leeway.as_millis()).unwrap_or(u64::MAX);
        ConfigError::unless_outside("leeway (milliseconds)", leeway, 0..=15 * 60 * 1_000)?;
        let bytes = u64::try_from(self.max_token_bytes).unwrap_or(u64::MAX);
        ConfigError::unless_outside("max_token_bytes", bytes, 256..=MAX_TOKEN_BYTES as u64)?;
        match self.required_scopes.iter().find(|s| !read::is_scope(s)) {
            Some(scope) => Err(ConfigError::Unfit {
                field: "required_scopes",
                value: scope.clone(),
                problem: "is not a scope: use printable ASCII without spaces, quotes and backslashes",
            }),
            None => Ok(()),
        }
    }
}

/// Verifies the tokens of one issuer.
///
/// In front of it belongs a [`CachedVerifier`](crate::CachedVerifier): a signature costs tens of microseconds.
pub struct JwtVerifier {
    config: JwtConfig,
    keys: KeySource,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, thiserror::Error)]
#[error("the keys of the issuer cannot be fetched")]
struct KeysUnavailable;

impl JwtVerifier {
    /// Accepts what `config` says, signed with `keys`.
    ///
    /// # Errors
    /// If `config` is incomplete or out of bounds.
    pub fn new(
        config: JwtConfig,
        keys: impl Into<KeySource>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            keys: keys.into(),
            clock,
        })
    }

    async fn check(&self, token: &str) -> Result<Caller, VerifyError> {
        let most = self.config.max_token_bytes;
        if token.len() > most {
            let given = token.len();
            return Err(VerifyError::TooLong { given, most });
        }
        let parts = Compact::split(token)?;
        let header = Header::parse(parts.header, &self.config.algorithms)?;
        let claims = URL_SAFE_NO_PAD
            .decode(parts.payload)
            .map_err(|_| VerifyError::Malformed("its payload is not base64url"))?;
        let claims = claims::parse_object(&claims)
            .map_err(|_| VerifyError::Malformed("its payload is not an object of unique names"))?;
        // Before the signature: a token of somebody else must not cause a fetch of this issuer's keys.
        self.check_issuer(&claims)?;
        self.check_signature(&parts, &header).await?;
        self.check_audience(&claims)?;
        let expires_at = self.check_times(&claims)?;
        self.mint(token, claims, expires_at)
    }

    fn check_issuer(&self, claims: &Map<String, Value>) -> Result<(), VerifyError> {
        match claims.get("iss") {
            Some(Value::String(issuer)) if self.config.issuers.contains(issuer) => Ok(()),
            Some(Value::String(_)) => Err(VerifyError::Issuer),
            Some(_) => Err(VerifyError::Malformed("its `iss` is not a string")),
            None => Err(ClaimError::missing("iss").into()),
        }
    }

    async fn check_signature(
        &self,
        parts: &Compact<'_>,
        header: &Header,
    ) -> Result<(), VerifyError> {
        let signature = URL_SAFE_NO_PAD
            .decode(parts.signature)
            .map_err(|_| VerifyError::Malformed("its signature is not base64url"))?;
        let key = self.keys.find(header.kid.as_deref(), header.algorithm);
        let key = key.await.map_err(|why| match why {
            NoKey::Unavailable => VerifyError::Unavailable(KeysUnavailable.into()),
            NoKey::Unselected(Unselected::Algorithm) => VerifyError::Algorithm {
                algorithm: header.algorithm.name().to_owned(),
            },
            NoKey::Unselected(Unselected::Ambiguous) => VerifyError::AmbiguousKey,
            NoKey::Unselected(Unselected::Unknown) => VerifyError::UnknownKey,
        })?;
        if key.verifies(header.algorithm, parts.signed.as_bytes(), &signature) {
            return Ok(());
        }
        Err(VerifyError::Signature)
    }

    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), VerifyError> {
        let audiences = read::audiences(claims)?;
        let ours = |audience: &&str| self.config.audiences.iter().any(|a| a == audience);
        if audiences.iter().any(ours) {
            return Ok(());
        }
        Err(VerifyError::Audience)
    }

    /// Source: RFC 7519, sections 4.1.4 to 4.1.6: not accepted *on or after* `exp`, nor *before* `nbf`. That a token
    /// from the future is refused is our own rule: it comes from a clock that is wrong, or from a key that was stolen
    /// to be used later.
    fn check_times(&self, claims: &Map<String, Value>) -> Result<Timestamp, VerifyError> {
        let now = self.clock.now();
        let expires_at = read::moment(claims, "exp")?.ok_or_else(|| ClaimError::missing("exp"))?;
        let not_before = read::moment(claims, "nbf")?;
        let issued_at = read::moment(claims, "iat")?;
        if now >= expires_at.saturating_add(self.config.leeway) {
            return Err(VerifyError::Expired);
        }
        let latest = now.saturating_add(self.config.leeway);
        if not_before.is_some_and(|not_before| not_before > latest) {
            return Err(VerifyError::NotYetValid);
        }
        if issued_at.is_some_and(|issued_at| issued_at > latest) {
            return Err(VerifyError::IssuedInFuture);
        }
        Ok(expires_at)
    }

    fn mint(
        &self,
        token: &str,
        claims: Map<String, Value>,
        expires_at: Timestamp,
    ) -> Result<Caller, VerifyError> {
        let names = &self.config.claims;
        let said = names.read(&claims)?;
        let subject = said
            .subject
            .ok_or_else(|| ClaimError::missing(names.subject.as_str()))?;
        if self.config.require_tenant && said.tenant.is_none() {
            return Err(VerifyError::NoTenant);
        }
        let issuer = claims.get("iss").and_then(Value::as_str);
        let issuer = issuer.map(str::to_owned);
        let claims = Arc::new(claims);
        let mut access = AccessToken::new(token)
            .with_scopes(said.scopes.clone().unwrap_or_default())
            .with_expires_at(expires_at)
            .with_claims(Arc::clone(&claims));
        if let Some(client_id) = &said.client_id {
            access = access.with_client_id(client_id);
        }
        Ok(Caller::mint(Identity {
            subject,
            tenant: said.tenant,
            roles: said.roles,
            scopes: said.scopes,
            client_id: said.client_id,
            issuer,
            expires_at: Some(expires_at),
            valid_until: Some(expires_at.saturating_add(self.config.leeway)),
            claims,
            actors: said.actors,
            token: Some(access),
        }))
    }
}

impl TokenVerifier for JwtVerifier {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, VerifyError>> {
        Box::pin(self.check(token))
    }

    fn required_scopes(&self) -> &[String] {
        &self.config.required_scopes
    }
}

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifier")
            .field("config", &self.config)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
