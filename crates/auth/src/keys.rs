//! Where the keys come from that check tokens.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::algorithm::Algorithm;
use crate::jwks::{JwkSet, Unselected, VerifyingKey};

mod fetch;
mod metadata;
mod remote;

pub use fetch::{Fetch, FetchError, IssuerFetch};
pub use remote::{KeysAt, RemoteKeys, RemoteKeysConfig, RemoteKeysStatus};

/// Keys that whoever configures the server hands over: out of a file, out of a configuration, freshly generated.
///
/// Whoever watches the file calls [`reload`](Self::reload) when it changes.
#[derive(Debug)]
pub struct StaticKeys {
    current: ArcSwap<JwkSet>,
}

impl StaticKeys {
    /// Takes the keys.
    #[must_use]
    pub fn new(keys: JwkSet) -> Self {
        Self {
            current: ArcSwap::from_pointee(keys),
        }
    }

    /// Puts `keys` in the place of those in use, whole and at once. Tokens of keys that are gone are refused from here
    /// on (by a [`CachedVerifier`](crate::verifier::CachedVerifier) after at most 60 seconds).
    pub fn reload(&self, keys: JwkSet) {
        self.current.store(Arc::new(keys));
    }
}

/// Where a [`JwtVerifier`](crate::jwt::JwtVerifier) takes its keys from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KeySource {
    /// Keys that were handed over.
    Static(Arc<StaticKeys>),
    /// Keys that are fetched from their issuer and kept fresh.
    Remote(Arc<RemoteKeys>),
}

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// The issuer's keys say no.
    Unselected(Unselected),
    /// The issuer's keys are not known.
    Unavailable,
}

impl KeySource {
    /// Finds the key for a token with these headers; may wait for one fetch.
    pub(crate) async fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<VerifyingKey>, NoKey> {
        match self {
            Self::Static(keys) => keys
                .current
                .load()
                .select(kid, algorithm)
                .map_err(NoKey::Unselected),
            Self::Remote(keys) => keys.find(kid, algorithm).await,
        }
    }
}

impl From<JwkSet> for KeySource {
    fn from(keys: JwkSet) -> Self {
        Self::Static(Arc::new(StaticKeys::new(keys)))
    }
}

impl From<Arc<StaticKeys>> for KeySource {
    fn from(keys: Arc<StaticKeys>) -> Self {
        Self::Static(keys)
    }
}

impl From<Arc<RemoteKeys>> for KeySource {
    fn from(keys: Arc<RemoteKeys>) -> Self {
        Self::Remote(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SigningKey;

    #[tokio::test]
    async fn reload_replaces_all_keys_at_once() {
        let (old, new) = (SigningKey::ec("old"), SigningKey::ec("new"));
        let keys = Arc::new(StaticKeys::new(old.jwks()));
        let source = KeySource::from(Arc::clone(&keys));
        assert!(source.find(Some("old"), Algorithm::Es256).await.is_ok());
        keys.reload(new.jwks());
        assert!(source.find(Some("new"), Algorithm::Es256).await.is_ok());
        let gone = source.find(Some("old"), Algorithm::Es256).await;
        assert_eq!(gone.unwrap_err(), NoKey::Unselected(Unselected::Unknown));
    }
}
