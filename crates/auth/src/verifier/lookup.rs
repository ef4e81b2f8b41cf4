//! Opaque tokens that somebody else knows: API keys in a database, introspection, a provider's user endpoint.

use std::fmt;
use std::sync::Arc;

use fastmcp_guard::clock::Clock;
use futures_core::future::BoxFuture;

use super::{TokenVerifier, VerifyError};
use crate::bearer::MAX_TOKEN_BYTES;
use crate::caller::{Caller, Identity};
use crate::claims::read::{is_scope, is_text};
use crate::claims::{ClaimError, ClaimNames, MAX_LIST, Said};
use crate::token::AccessToken;

/// Knows tokens. What it answers is checked by the [`LookupVerifier`] around it, which alone mints callers.
pub trait TokenLookup: Send + Sync {
    /// Looks `token` up; `None` if it is not known, or no longer good.
    ///
    /// An implementation compares hashes, not tokens, and answers [`VerifyError::Unavailable`] if it cannot tell.
    ///
    /// # Errors
    /// If the token is known to be bad, or cannot be checked right now.
    ///
    /// # Cancel safety
    /// Dropping the future must have no effect beyond abandoning the look-up.
    fn look_up<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<AccessToken>, VerifyError>>;
}

/// How a [`LookupVerifier`] reads what it is told.
#[derive(Clone, Debug, Default)]
pub struct LookupConfig {
    /// Who vouches for the callers; it becomes part of their principal, so it must not change.
    pub issuer: Option<String>,
    /// Under which names the claims say what.
    pub claims: ClaimNames,
    /// Whether a token without a tenant is refused.
    pub require_tenant: bool,
    /// The scopes that every caller must bring.
    pub required_scopes: Vec<String>,
}

/// Turns the answers of a [`TokenLookup`] into callers.
///
/// The subject is the claim of that name, else the token's client id; the scopes are the token's, else those of its
/// claims.
pub struct LookupVerifier<L> {
    lookup: L,
    config: LookupConfig,
    clock: Arc<dyn Clock>,
}

impl<L: TokenLookup> LookupVerifier<L> {
    /// Puts `lookup` behind the seam.
    pub fn new(lookup: L, config: LookupConfig, clock: Arc<dyn Clock>) -> Self {
        Self {
            lookup,
            config,
            clock,
        }
    }

    async fn check(&self, token: &str) -> Result<Caller, VerifyError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(VerifyError::TooLong {
                given: token.len(),
                most: MAX_TOKEN_BYTES,
            });
        }
        let known = self.lookup.look_up(token).await?;
        let known = known.ok_or(VerifyError::UnknownToken)?;
        // Whoever answers for another token has made a mistake that would hand out somebody else's rights.
        if known.expose() != token {
            return Err(VerifyError::UnknownToken);
        }
        if known
            .expires_at()
            .is_some_and(|end| self.clock.now() >= end)
        {
            return Err(VerifyError::Expired);
        }
        let said = self.config.claims.read(known.claims())?;
        self.mint(known, said)
    }

    fn mint(&self, token: AccessToken, said: Said) -> Result<Caller, VerifyError> {
        let client_id = token.client_id().map(str::to_owned).or(said.client_id);
        let subject_claim = self.config.claims.subject.as_str();
        let subject = said
            .subject
            .or_else(|| client_id.clone())
            .filter(|subject| is_text(subject))
            .ok_or_else(|| ClaimError::missing(subject_claim))?;
        if self.config.require_tenant && said.tenant.is_none() {
            return Err(VerifyError::NoTenant);
        }
        let scopes = match token.scopes() {
            [] => said.scopes,
            scopes => Some(scopes.to_vec()),
        };
        let scopes_fit = |s: &Vec<String>| s.len() <= MAX_LIST && s.iter().all(|s| is_scope(s));
        if !scopes.as_ref().is_none_or(scopes_fit) {
            return Err(VerifyError::Malformed("it was looked up with unfit scopes"));
        }
        Ok(Caller::mint(Identity {
            subject,
            tenant: said.tenant,
            roles: said.roles,
            scopes,
            client_id,
            issuer: self.config.issuer.clone(),
            expires_at: token.expires_at(),
            valid_until: token.expires_at(),
            claims: token.shared_claims(),
            actors: said.actors,
            token: Some(token),
        }))
    }
}

impl<L: TokenLookup> TokenVerifier for LookupVerifier<L> {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, VerifyError>> {
        Box::pin(self.check(token))
    }

    fn required_scopes(&self) -> &[String] {
        &self.config.required_scopes
    }
}

impl<L> fmt::Debug for LookupVerifier<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupVerifier")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use fastmcp_guard::clock::{ManualClock, Timestamp};
    use serde_json::json;

    use super::*;

    /// Knows what the test gives it.
    struct Table(Answer);

    type Answer = fn(&str) -> Result<Option<AccessToken>, VerifyError>;

    impl TokenLookup for Table {
        fn look_up<'a>(
            &'a self,
            token: &'a str,
        ) -> BoxFuture<'a, Result<Option<AccessToken>, VerifyError>> {
            Box::pin(async move { (self.0)(token) })
        }
    }

    async fn verify(table: Answer, require_tenant: bool) -> Result<Caller, VerifyError> {
        let config = LookupConfig {
            issuer: Some("https://keys.example".to_owned()),
            require_tenant,
            ..LookupConfig::default()
        };
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(100)));
        LookupVerifier::new(Table(table), config, clock)
            .verify("presented")
            .await
    }

    #[tokio::test]
    async fn what_is_known_becomes_a_caller() {
        let caller = verify(
            |token| {
                let claims = json!({"sub": "ada", "tenant": "acme", "roles": ["admin"]});
                let claims = claims.as_object().unwrap().clone();
                let token = AccessToken::new(token).with_client_id("cli");
                Ok(Some(token.with_scopes(["read"]).with_claims(claims)))
            },
            true,
        )
        .await
        .unwrap();
        assert_eq!((caller.subject(), caller.tenant()), ("ada", Some("acme")));
        assert_eq!(caller.issuer(), Some("https://keys.example"));
        assert_eq!(caller.client_id(), Some("cli"));
        assert_eq!(caller.roles(), ["admin"]);
        assert!(caller.has_scope("read"));
    }

    #[tokio::test]
    async fn a_machine_is_known_by_its_client_id() {
        let known = |token: &str| Ok(Some(AccessToken::new(token).with_client_id("robot")));
        assert_eq!(verify(known, false).await.unwrap().subject(), "robot");
        let refused = verify(known, true).await.unwrap_err();
        assert!(matches!(refused, VerifyError::NoTenant));
    }

    #[tokio::test]
    async fn wrong_answers_are_refused() {
        let cases: [(Answer, &str); 6] = [
            (|_| Ok(None), "unknown_token"),
            (|_| Ok(Some(AccessToken::new("another"))), "unknown_token"),
            (|t| Ok(Some(AccessToken::new(t))), "claim"),
            (
                |t| {
                    let end = Timestamp::from_unix_seconds(100);
                    let token = AccessToken::new(t).with_client_id("c");
                    Ok(Some(token.with_expires_at(end)))
                },
                "expired",
            ),
            (
                |t| {
                    let token = AccessToken::new(t).with_client_id("c");
                    Ok(Some(token.with_scopes(["two words"])))
                },
                "malformed",
            ),
            (
                |_| Err(VerifyError::Unavailable("database".into())),
                "unavailable",
            ),
        ];
        for (table, reason) in cases {
            assert_eq!(verify(table, false).await.unwrap_err().reason(), reason);
        }
    }
}
