//! The one place where a request's headers become a caller, or an answer of 400, 401, 403 or 503.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::bearer::{self, BearerError};
use crate::caller::Caller;
use crate::challenge::Challenger;
use crate::verifier::{TokenVerifier, VerifyError};

/// Authenticates requests at a door.
#[derive(Clone)]
pub struct Authenticator {
    verifier: Arc<dyn TokenVerifier>,
    challenger: Challenger,
    api_keys: bool,
}

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthenticateError {
    /// There is no usable bearer token.
    #[error("no usable bearer token")]
    Bearer(#[from] BearerError),
    /// The caller does not bring the scopes that every caller must bring.
    #[error("the token lacks the scopes `{}`", missing.join(" "))]
    Scope {
        /// All that is required.
        required: Vec<String>,
        /// What of it is missing.
        missing: Vec<String>,
    },
    /// The token was refused.
    #[error("the bearer token was refused")]
    Verify(#[from] VerifyError),
}

impl Authenticator {
    /// Lets in whom `verifier` accepts; the others are told what `challenger` says.
    #[must_use]
    pub fn new(verifier: Arc<dyn TokenVerifier>, challenger: Challenger) -> Self {
        Self {
            verifier,
            challenger,
            api_keys: false,
        }
    }

    /// Takes API keys out of the header [`X-API-Key`](bearer::API_KEY) as well; it carries nothing else.
    #[must_use]
    pub fn with_api_keys(mut self) -> Self {
        self.api_keys = true;
        self
    }

    /// Authenticates a request by its headers.
    ///
    /// # Errors
    /// If the request has no usable token, the token is refused, or it lacks a required scope.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect beyond abandoning the check.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, AuthenticateError> {
        let token = if self.api_keys {
            bearer::token_or_api_key(headers)?
        } else {
            bearer::token(headers)?
        };
        let caller = self.verifier.verify(token).await?;
        let required = self.verifier.required_scopes();
        let missing = caller.missing_scopes(required);
        if missing.is_empty() {
            return Ok(caller);
        }
        Err(AuthenticateError::Scope {
            missing: missing.into_iter().map(str::to_owned).collect(),
            required: required.to_vec(),
        })
    }

    /// The challenge that goes with a refusal; a 503 has none, since another token would not help.
    #[must_use]
    pub fn challenge(&self, refused: &AuthenticateError) -> Option<HeaderValue> {
        let challenger = &self.challenger;
        Some(match refused {
            AuthenticateError::Bearer(BearerError::Missing) => challenger.missing(),
            AuthenticateError::Bearer(BearerError::Duplicate) => {
                challenger.invalid_request(refused.description())
            }
            AuthenticateError::Verify(VerifyError::Unavailable(_)) => return None,
            AuthenticateError::Bearer(_) | AuthenticateError::Verify(_) => {
                challenger.invalid_token(refused.description())
            }
            AuthenticateError::Scope { required, .. } => {
                challenger.insufficient_scope(required, refused.description())
            }
        })
    }

    /// What builds the challenges; for refusals that are found later, such as a tool that needs more scopes.
    #[must_use]
    pub const fn challenger(&self) -> &Challenger {
        &self.challenger
    }
}

impl AuthenticateError {
    /// The status of the answer.
    ///
    /// Source: RFC 6750, section 3.1.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Bearer(BearerError::Duplicate) => StatusCode::BAD_REQUEST,
            Self::Scope { .. } => StatusCode::FORBIDDEN,
            Self::Verify(VerifyError::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Bearer(_) | Self::Verify(_) => StatusCode::UNAUTHORIZED,
        }
    }

    /// What the caller is told.
    #[must_use]
    pub const fn description(&self) -> &'static str {
        match self {
            Self::Bearer(BearerError::Duplicate) => {
                "the request has more than one authorization header"
            }
            Self::Bearer(BearerError::Missing) => "a bearer token is needed",
            Self::Bearer(BearerError::TooLong) => "the token is too long",
            Self::Bearer(BearerError::Malformed) => "the token is not valid",
            Self::Scope { .. } => "the token lacks a scope that is needed here",
            Self::Verify(error) => error.description(),
        }
    }

    /// A fixed word for records and metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Bearer(error) => error.reason(),
            Self::Scope { .. } => "scope",
            Self::Verify(error) => error.reason(),
        }
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("challenger", &self.challenger)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use fastmcp_guard::clock::ManualClock;
    use futures_core::future::BoxFuture;
    use http::header::AUTHORIZATION;

    use super::*;
    use crate::verifier::{StaticIdentity, StaticTokens};

    const TOKEN: &str = "0123456789abcdef";

    fn authenticator(scopes: &[&str]) -> Authenticator {
        let identity = StaticIdentity {
            subject: "ada".to_owned(),
            scopes: Some(scopes.iter().map(|s| (*s).to_owned()).collect()),
            ..StaticIdentity::default()
        };
        let verifier = StaticTokens::new()
            .required_scopes(["enter".to_owned()])
            .token(TOKEN, identity)
            .and_then(|tokens| tokens.build(Arc::new(ManualClock::default())))
            .unwrap();
        Authenticator::new(Arc::new(verifier), Challenger::new())
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[tokio::test]
    async fn each_refusal_has_its_status_and_challenge() {
        let good = format!("Bearer {TOKEN}");
        for (values, scopes, status, challenge) in [
            (vec![], "enter", 401, "Bearer"),
            (vec!["Basic eA=="], "enter", 401, "Bearer"),
            (
                vec!["Bearer wrong"],
                "enter",
                401,
                r#"Bearer error="invalid_token",error_description="the token is not valid""#,
            ),
            (
                vec!["Bearer a b"],
                "enter",
                401,
                r#"Bearer error="invalid_token",error_description="the token is not valid""#,
            ),
            (
                vec![good.as_str(), "Bearer other"],
                "enter",
                400,
                r#"Bearer error="invalid_request",error_description="the request has more than one authorization header""#,
            ),
            (
                vec![good.as_str()],
                "other",
                403,
                r#"Bearer error="insufficient_scope",error_description="the token lacks a scope that is needed here",scope="enter""#,
            ),
        ] {
            let authenticator = authenticator(&[scopes]);
            let refused = authenticator
                .authenticate(&headers(&values))
                .await
                .unwrap_err();
            assert_eq!(refused.status().as_u16(), status, "{values:?}");
            let header = authenticator.challenge(&refused).unwrap();
            assert_eq!(header, challenge, "{values:?}");
        }
        let caller = authenticator(&["enter", "more"])
            .authenticate(&headers(&[&good]))
            .await
            .unwrap();
        assert_eq!(caller.subject(), "ada");
    }

    struct Away;

    impl TokenVerifier for Away {
        fn verify<'a>(&'a self, _token: &'a str) -> BoxFuture<'a, Result<Caller, VerifyError>> {
            Box::pin(async { Err(VerifyError::Unavailable("keys".into())) })
        }
    }

    #[tokio::test]
    async fn what_cannot_be_checked_is_not_the_clients_fault() {
        let authenticator = Authenticator::new(Arc::new(Away), Challenger::new());
        let refused = authenticator.authenticate(&headers(&["Bearer x"])).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(authenticator.challenge(&refused), None);
        assert_eq!(refused.reason(), "unavailable");
    }
}
