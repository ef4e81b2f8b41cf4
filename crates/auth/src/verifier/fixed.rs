//! Tokens that the configuration fixes: for machines, development and tests.

use std::fmt;
use std::sync::Arc;

use fastmcp_guard::clock::{Clock, Timestamp};
use futures_core::future::BoxFuture;
use serde_json::{Map, Value};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::{TokenVerifier, VerifyError};
use crate::bearer::{self, MAX_TOKEN_BYTES};
use crate::caller::{Caller, Identity};
use crate::claims::read::{is_scope, is_text};
use crate::digest::{Sha256, sha256};
use crate::error::ConfigError;
use crate::token::AccessToken;

const FIELD: &str = "static tokens";
/// The fewest characters of a token. 16 characters out of 64 are 96 bits.
const MIN_TOKEN_CHARS: usize = 16;
/// The most tokens: each is compared at each request.
const MAX_TOKENS: usize = 1_024;

/// Who a fixed token stands for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StaticIdentity {
    /// Who it is.
    pub subject: String,
    /// The tenant it belongs to.
    pub tenant: Option<String>,
    /// Its roles.
    pub roles: Vec<String>,
    /// Its scopes; `None` if the token carries none.
    pub scopes: Option<Vec<String>>,
    /// The OAuth client that it counts as.
    pub client_id: Option<String>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// What else tools may want to know.
    pub claims: Map<String, Value>,
}

impl StaticIdentity {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let unfit = |value: &str, problem| ConfigError::Unfit {
            field: FIELD,
            value: value.chars().take(80).collect(),
            problem,
        };
        let names = [&self.tenant, &self.client_id].into_iter().flatten();
        for name in names.chain(&self.roles).chain([&self.subject]) {
            if !is_text(name) {
                let problem = "must be 1 to 255 bytes, printable, without spaces at its ends";
                return Err(unfit(name, problem));
            }
        }
        match self.scopes.iter().flatten().find(|scope| !is_scope(scope)) {
            Some(scope) => Err(unfit(
                scope,
                "is not a scope: use printable ASCII without spaces, quotes and backslashes",
            )),
            None => Ok(()),
        }
    }

    /// The caller that `token` stands for, which was found good.
    pub(crate) fn mint(self, token: &str) -> Caller {
        let claims = Arc::new(self.claims);
        let mut access = AccessToken::new(token)
            .with_scopes(self.scopes.clone().unwrap_or_default())
            .with_claims(Arc::clone(&claims));
        if let Some(client_id) = &self.client_id {
            access = access.with_client_id(client_id);
        }
        if let Some(expires_at) = self.expires_at {
            access = access.with_expires_at(expires_at);
        }
        Caller::mint(Identity {
            subject: self.subject,
            tenant: self.tenant,
            roles: self.roles,
            scopes: self.scopes,
            client_id: self.client_id,
            expires_at: self.expires_at,
            valid_until: self.expires_at,
            claims,
            token: Some(access),
            ..Identity::default()
        })
    }
}

/// Collects the tokens of a [`StaticTokenVerifier`].
#[derive(Default)]
pub struct StaticTokens {
    entries: Vec<(Sha256, StaticIdentity)>,
    allow_short: bool,
    required_scopes: Vec<String>,
}

impl StaticTokens {
    /// No tokens yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows tokens of fewer than 16 characters from here on: for tests and examples, since they can be guessed.
    #[must_use]
    pub fn allow_short(mut self) -> Self {
        self.allow_short = true;
        self
    }

    /// Says which scopes every caller must bring.
    #[must_use]
    pub fn required_scopes(mut self, scopes: impl IntoIterator<Item = String>) -> Self {
        self.required_scopes = scopes.into_iter().collect();
        self
    }

    /// Adds a token. Only its SHA-256 is kept.
    ///
    /// # Errors
    /// If the token is short, too long, given twice or holds what no `Authorization` header can carry; if a name or
    /// scope of `identity` is out of bounds; or if there are 1,024 already.
    pub fn token(mut self, token: &str, identity: StaticIdentity) -> Result<Self, ConfigError> {
        let given = token.chars().count();
        let least = if self.allow_short { 1 } else { MIN_TOKEN_CHARS };
        if given < least {
            return Err(ConfigError::ShortToken {
                field: FIELD,
                given,
                least,
            });
        }
        if token.len() > MAX_TOKEN_BYTES || !bearer::is_b64token(token) {
            return Err(ConfigError::UnfitSecret {
                field: FIELD,
                problem: "holds a token that no client could send: use letters, digits and `-._~+/`, at most 16384",
            });
        }
        identity.check()?;
        let count = u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        ConfigError::unless_outside("static tokens (how many)", count + 1, 1..=MAX_TOKENS as u64)?;
        let hash = sha256(token.as_bytes());
        if self.entries.iter().any(|(known, _)| *known == hash) {
            return Err(ConfigError::DuplicateToken { field: FIELD });
        }
        self.entries.push((hash, identity));
        Ok(self)
    }

    /// The verifier of these tokens.
    ///
    /// # Errors
    /// If there are none.
    pub fn build(self, clock: Arc<dyn Clock>) -> Result<StaticTokenVerifier, ConfigError> {
        ConfigError::unless_empty(FIELD, self.entries.is_empty())?;
        Ok(StaticTokenVerifier {
            entries: self.entries,
            required_scopes: self.required_scopes,
            clock,
        })
    }
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticTokens")
            .field("tokens", &self.entries.len())
            .finish_non_exhaustive()
    }
}

/// Accepts the tokens of a table.
///
/// The table holds hashes, each of which is compared in constant time, so that neither a dump of the memory nor the
/// time of an answer helps to find a token.
///
/// ```
/// use std::sync::Arc;
/// use fastmcp_auth::verifier::{StaticIdentity, StaticTokens};
/// use fastmcp_guard::clock::SystemClock;
///
/// let identity = StaticIdentity { subject: "ci".into(), scopes: Some(vec!["read".into()]), ..Default::default() };
/// let verifier = StaticTokens::new()
///     .token("0f8a2c64b7d94e11a3", identity)?
///     .build(Arc::new(SystemClock))?;
/// # Ok::<(), fastmcp_auth::ConfigError>(())
/// ```
pub struct StaticTokenVerifier {
    entries: Vec<(Sha256, StaticIdentity)>,
    required_scopes: Vec<String>,
    clock: Arc<dyn Clock>,
}

impl StaticTokenVerifier {
    fn check(&self, token: &str) -> Result<Caller, VerifyError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(VerifyError::TooLong {
                given: token.len(),
                most: MAX_TOKEN_BYTES,
            });
        }
        let hash = sha256(token.as_bytes());
        // All entries are compared, whichever matches.
        let (mut found, mut place) = (Choice::from(0), 0_u64);
        for (index, (known, _)) in (0_u64..).zip(&self.entries) {
            let same = known.ct_eq(&hash);
            place = u64::conditional_select(&place, &index, same);
            found |= same;
        }
        if !bool::from(found) {
            return Err(VerifyError::UnknownToken);
        }
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let (_, identity) = self.entries.get(place).ok_or(VerifyError::UnknownToken)?;
        if identity
            .expires_at
            .is_some_and(|end| self.clock.now() >= end)
        {
            return Err(VerifyError::Expired);
        }
        Ok(identity.clone().mint(token))
    }
}

impl TokenVerifier for StaticTokenVerifier {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, VerifyError>> {
        Box::pin(async move { self.check(token) })
    }

    fn required_scopes(&self) -> &[String] {
        &self.required_scopes
    }
}

impl fmt::Debug for StaticTokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticTokenVerifier")
            .field("tokens", &self.entries.len())
            .field("required_scopes", &self.required_scopes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use fastmcp_guard::clock::ManualClock;

    use super::*;

    const ADA: &str = "ada-token-0123456789";
    const BOB: &str = "bob-token-0123456789";

    fn identity(subject: &str) -> StaticIdentity {
        StaticIdentity {
            subject: subject.to_owned(),
            tenant: Some("acme".to_owned()),
            scopes: Some(vec!["read".to_owned()]),
            ..StaticIdentity::default()
        }
    }

    #[tokio::test]
    async fn each_token_is_its_own_caller_until_it_expires() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(99)));
        let bob = StaticIdentity {
            expires_at: Some(Timestamp::from_unix_seconds(100)),
            ..identity("bob")
        };
        let verifier = StaticTokens::new()
            .token(ADA, identity("ada"))
            .and_then(|tokens| tokens.token(BOB, bob))
            .and_then(|tokens| tokens.build(clock.clone()))
            .unwrap();
        let caller = verifier.verify(ADA).await.unwrap();
        assert_eq!((caller.subject(), caller.tenant()), ("ada", Some("acme")));
        assert_eq!(caller.token().unwrap().expose(), ADA);
        assert!(caller.has_scope("read"));
        assert_eq!(verifier.verify(BOB).await.unwrap().subject(), "bob");
        clock.set(Timestamp::from_unix_seconds(100));
        let refused = verifier.verify(BOB).await.unwrap_err();
        assert!(matches!(refused, VerifyError::Expired));
        for unknown in ["", "ada-token-012345678", &ADA.to_uppercase()] {
            let refused = verifier.verify(unknown).await.unwrap_err();
            assert!(matches!(refused, VerifyError::UnknownToken));
        }
        let long = "x".repeat(MAX_TOKEN_BYTES + 1);
        assert_eq!(
            verifier.verify(&long).await.unwrap_err().reason(),
            "too_long"
        );
        assert!(!format!("{verifier:?}").contains("ada"));
    }

    #[test]
    fn weak_and_unusable_tokens_are_refused_without_being_shown() {
        let add = |token: &str| StaticTokens::new().token(token, identity("x")).map(|_| ());
        for bad in [
            "dev-token",
            "",
            "with spaces in it and long",
            "ünïcödé-töken-0123",
        ] {
            let refused = add(bad).unwrap_err().to_string();
            assert!(bad.is_empty() || !refused.contains(bad), "{refused}");
        }
        assert!(add(&"x".repeat(MAX_TOKEN_BYTES + 1)).is_err());
        let short = StaticTokens::new().allow_short();
        assert!(short.token("dev-token", identity("x")).is_ok());
        let twice = StaticTokens::new()
            .token(ADA, identity("x"))
            .and_then(|tokens| tokens.token(ADA, identity("y")));
        assert!(matches!(twice, Err(ConfigError::DuplicateToken { .. })));
        let clock = Arc::new(ManualClock::default());
        assert!(StaticTokens::new().build(clock).is_err());
    }

    #[test]
    fn identities_are_checked() {
        let add = |identity| StaticTokens::new().token(ADA, identity).map(|_| ());
        assert!(add(identity("")).is_err());
        assert!(add(identity("a\nb")).is_err());
        let mut spaced = identity("x");
        spaced.scopes = Some(vec!["two words".to_owned()]);
        assert!(add(spaced).is_err());
        let mut tenantless = identity("x");
        tenantless.tenant = Some(String::new());
        assert!(add(tenantless).is_err());
    }
}
