//! Several ways to prove a token, one after another.

use std::fmt;
use std::sync::Arc;

use futures_core::future::BoxFuture;

use super::{TokenVerifier, VerifyError};
use crate::caller::Caller;
use crate::error::ConfigError;

/// The most verifiers of a chain.
const MAX_VERIFIERS: usize = 16;

/// Tries verifiers in their order: one per issuer, fixed tokens for machines, and so on. The first that accepts wins.
///
/// If none accepts, the answer is that of the first verifier that knew the token to be its own (an expired token of the
/// second issuer is `expired`, not "another issuer"). If one could not check at all, the answer is that, since the
/// token may be good.
pub struct VerifierChain {
    verifiers: Vec<Arc<dyn TokenVerifier>>,
    required_scopes: Vec<String>,
}

impl VerifierChain {
    /// Takes 1 to 16 verifiers, in order.
    ///
    /// The scopes that each of them requires are required of all callers, since whoever enters is told one list.
    ///
    /// # Errors
    /// If there are none or too many.
    pub fn new(verifiers: Vec<Arc<dyn TokenVerifier>>) -> Result<Self, ConfigError> {
        ConfigError::unless_empty("verifiers", verifiers.is_empty())?;
        let given = u64::try_from(verifiers.len()).unwrap_or(u64::MAX);
        ConfigError::unless_outside("verifiers (how many)", given, 1..=MAX_VERIFIERS as u64)?;
        let mut required_scopes: Vec<String> = Vec::new();
        for scope in verifiers.iter().flat_map(|v| v.required_scopes()) {
            if !required_scopes.contains(scope) {
                required_scopes.push(scope.clone());
            }
        }
        Ok(Self {
            verifiers,
            required_scopes,
        })
    }

    async fn first_to_accept(&self, token: &str) -> Result<Caller, VerifyError> {
        let mut refused = VerifyError::UnknownToken;
        for verifier in &self.verifiers {
            let error = match verifier.verify(token).await {
                Ok(caller) => return Ok(caller),
                Err(error) => error,
            };
            let tells_more = refused.is_foreign() && !error.is_foreign();
            if tells_more || (error.is_unavailable() && !refused.is_unavailable()) {
                refused = error;
            }
        }
        Err(refused)
    }
}

impl TokenVerifier for VerifierChain {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, VerifyError>> {
        Box::pin(self.first_to_accept(token))
    }

    fn required_scopes(&self) -> &[String] {
        &self.required_scopes
    }
}

impl fmt::Debug for VerifierChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifierChain")
            .field("verifiers", &self.verifiers.len())
            .field("required_scopes", &self.required_scopes)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts its own word; says `error` to all others.
    struct Says(&'static str, fn() -> VerifyError, Vec<String>);

    impl TokenVerifier for Says {
        fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, VerifyError>> {
            Box::pin(async move {
                if token == self.0 {
                    return Ok(crate::testing::caller(token).build());
                }
                Err((self.1)())
            })
        }

        fn required_scopes(&self) -> &[String] {
            &self.2
        }
    }

    type Refusal = fn() -> VerifyError;

    fn chain(errors: &[(&'static str, Refusal)]) -> VerifierChain {
        let verifier = |(word, error): &(&'static str, Refusal)| {
            Arc::new(Says(word, *error, vec!["enter".to_owned()])) as Arc<dyn TokenVerifier>
        };
        VerifierChain::new(errors.iter().map(verifier).collect()).unwrap()
    }

    fn unavailable() -> VerifyError {
        VerifyError::Unavailable("away".into())
    }

    #[tokio::test]
    async fn the_first_that_accepts_wins() {
        let chain = chain(&[("a", || VerifyError::Issuer), ("b", unavailable)]);
        assert_eq!(chain.verify("b").await.unwrap().subject(), "b");
        assert_eq!(chain.verify("a").await.unwrap().subject(), "a");
        assert_eq!(chain.required_scopes(), ["enter"]);
    }

    #[tokio::test]
    async fn the_refusal_is_the_one_that_says_most() {
        let expired = || VerifyError::Expired;
        let issuer = || VerifyError::Issuer;
        let audience = || VerifyError::Audience;
        for (errors, reason) in [
            ([issuer as Refusal, expired, audience], "expired"),
            ([issuer, unavailable, expired], "unavailable"),
            ([expired, issuer, unavailable], "unavailable"),
            ([issuer, issuer, issuer], "unknown_token"),
        ] {
            let refused = chain(&errors.map(|error| ("-", error))).verify("x").await;
            assert_eq!(refused.unwrap_err().reason(), reason);
        }
    }

    #[test]
    fn a_chain_is_neither_empty_nor_endless() {
        assert!(VerifierChain::new(Vec::new()).is_err());
        let one: Arc<dyn TokenVerifier> = Arc::new(Says("a", unavailable, Vec::new()));
        assert!(VerifierChain::new(vec![one; 17]).is_err());
    }
}
