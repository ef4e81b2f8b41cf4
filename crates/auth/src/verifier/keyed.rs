//! API keys beside other tokens.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use fastmcp_guard::clock::Clock;
use futures_core::future::BoxFuture;

use super::{TokenVerifier, VerifyError};
use crate::api_key::{ApiKeys, is_api_key};
use crate::caller::Caller;

/// Accepts the keys of a table, and leaves every other token to `others`.
///
/// What begins as a key is never handed on: an issuer that is asked about opaque tokens must not see the keys of this
/// server. Keys are not to be cached: a check costs one SHA-256, and a table that was replaced holds at once.
pub struct ApiKeyVerifier {
    keys: ArcSwap<ApiKeys>,
    others: Option<Arc<dyn TokenVerifier>>,
    clock: Arc<dyn Clock>,
}

impl ApiKeyVerifier {
    /// Puts `keys` in front of `others`.
    #[must_use]
    pub fn new(
        keys: ApiKeys,
        others: Option<Arc<dyn TokenVerifier>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            keys: ArcSwap::from_pointee(keys),
            others,
            clock,
        }
    }

    /// Whether the table holds no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.load().is_empty()
    }

    /// Puts another table in place, whole; it holds for the next request.
    pub fn replace(&self, keys: ApiKeys) {
        self.keys.store(Arc::new(keys));
    }
}

impl TokenVerifier for ApiKeyVerifier {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, VerifyError>> {
        if is_api_key(token) {
            let checked = self.keys.load().check(token, self.clock.now());
            return Box::pin(std::future::ready(checked));
        }
        match &self.others {
            Some(others) => others.verify(token),
            None => Box::pin(std::future::ready(Err(VerifyError::UnknownToken))),
        }
    }

    fn required_scopes(&self) -> &[String] {
        self.others
            .as_ref()
            .map_or(&[], |others| others.required_scopes())
    }
}

impl fmt::Debug for ApiKeyVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyVerifier")
            .field("keys", &self.keys.load().len())
            .finish_non_exhaustive()
    }
}
