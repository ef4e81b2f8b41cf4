//! A set of public keys, as an issuer publishes it.
//!
//! Source: RFC 7517 (JWK and JWK Set), RFC 7518, section 6 (EC and RSA keys), RFC 8037, section 2 (Ed25519 keys).

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::algorithm::Algorithm;

mod key;

pub use key::VerifyingKey;

/// The most bytes of a JWK Set.
pub const MAX_JWKS_BYTES: usize = 512 * 1024;
/// The most keys of a JWK Set.
pub const MAX_KEYS: usize = 64;

/// The keys that can check signatures, out of a JWK Set.
///
/// Keys that this crate cannot use (for encryption, of another kind, too weak, broken) are left out and logged, so that
/// one strange key does not take the others away. Cheap to clone.
#[derive(Clone)]
pub struct JwkSet {
    keys: Arc<[Arc<VerifyingKey>]>,
}

/// A JWK Set that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwksError {
    /// None of its keys can check a signature.
    #[error(
        "the key set has no usable key: it needs an RSA, EC (P-256, P-384) or Ed25519 public key for signatures"
    )]
    NoUsableKey,
    /// It is not a JWK Set.
    #[error("the key set is not a JSON object with a list `keys`")]
    NotASet(#[source] serde_json::Error),
    /// It is too large.
    #[error("the key set has {given} bytes, more than {MAX_JWKS_BYTES}")]
    TooLarge {
        /// Bytes of the set.
        given: usize,
    },
    /// It has too many keys.
    #[error("the key set has {given} keys, more than {MAX_KEYS}")]
    TooMany {
        /// Keys of the set.
        given: usize,
    },
}

/// Why no key was found for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unselected {
    /// The key has another algorithm than the token.
    Algorithm,
    /// More than one key would do.
    Ambiguous,
    /// There is no such key.
    Unknown,
}

impl JwkSet {
    /// Parses a JWK Set of at most 512 KiB and 64 keys.
    ///
    /// # Errors
    /// If it is too large, not a JWK Set, or has no key that can be used.
    pub fn parse(json: &[u8]) -> Result<Self, JwksError> {
        #[derive(Deserialize)]
        struct Published {
            keys: Vec<Value>,
        }

        if json.len() > MAX_JWKS_BYTES {
            return Err(JwksError::TooLarge { given: json.len() });
        }
        let published: Published = serde_json::from_slice(json).map_err(JwksError::NotASet)?;
        if published.keys.len() > MAX_KEYS {
            let given = published.keys.len();
            return Err(JwksError::TooMany { given });
        }
        let mut keys = Vec::with_capacity(published.keys.len());
        for (index, jwk) in published.keys.iter().enumerate() {
            match VerifyingKey::from_jwk(jwk) {
                Ok(key) => keys.push(Arc::new(key)),
                Err(key::Unusable::Foreign(why)) => {
                    tracing::debug!(index, why, "key left out of the set");
                }
                Err(key::Unusable::Broken(why)) => {
                    tracing::warn!(index, why, "key left out of the set");
                }
            }
        }
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey);
        }
        Ok(Self { keys: keys.into() })
    }

    /// How many keys can be used.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "a set is never empty: parsing refuses one"
    )]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The ids of the keys that have one.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|key| key.id())
    }

    /// The one key for a token with these headers. Without a `kid` there must be exactly one key that fits.
    pub(crate) fn select(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<VerifyingKey>, Unselected> {
        let named = |key: &&Arc<VerifyingKey>| kid.is_none() || key.id() == kid;
        let mut fitting = self.keys.iter().filter(named).filter(|k| k.fits(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(Arc::clone(key)),
            (Some(_), Some(_)) => Err(Unselected::Ambiguous),
            (None, _) if kid.is_some() && self.keys.iter().any(|key| key.id() == kid) => {
                Err(Unselected::Algorithm)
            }
            (None, _) => Err(Unselected::Unknown),
        }
    }
}

impl fmt::Debug for JwkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::SigningKey;

    fn parse(keys: &Value) -> Result<JwkSet, JwksError> {
        JwkSet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    #[test]
    fn strange_keys_are_left_out_and_the_rest_stays() {
        let good = SigningKey::ec("good").jwk();
        let with = |name: &str, value: Value| {
            let mut jwk = good.clone();
            jwk[name] = value;
            jwk
        };
        let strange = json!([
            7,
            null,
            {},
            {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "weak"},
            {"kty": "RSA", "n": "!", "e": "AQAB"},
            {"kty": "OKP", "crv": "X25519", "x": "AA"},
            {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
            {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"},
            with("use", json!("enc")),
            with("key_ops", json!(["sign"])),
            with("key_ops", json!("verify")),
            with("alg", json!("ES384")),
            with("alg", json!("HS256")),
            with("kid", json!(1)),
            with("crv", json!("P-384")),
            with("y", json!("AAAA")),
            with("y", with("x", json!(""))["x"].clone()),
            with("x", good["y"].clone()),
            with("d", json!("AA")),
            good,
        ]);
        let set = parse(&strange).unwrap();
        assert_eq!(set.key_ids().collect::<Vec<_>>(), ["good"]);
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn bounds_and_forms_are_checked() {
        assert!(matches!(parse(&json!([])), Err(JwksError::NoUsableKey)));
        let many: Vec<_> = (0..65).map(|_| json!({})).collect();
        assert!(matches!(
            parse(&json!(many)),
            Err(JwksError::TooMany { given: 65 })
        ));
        let large = vec![b' '; MAX_JWKS_BYTES + 1];
        assert!(matches!(
            JwkSet::parse(&large),
            Err(JwksError::TooLarge { .. })
        ));
        for bad in ["", "[]", "{}", "{\"keys\": {}}", "<html>"] {
            let refused = JwkSet::parse(bad.as_bytes());
            assert!(matches!(refused, Err(JwksError::NotASet(_))), "{bad}");
        }
    }

    #[test]
    fn selects_by_id_and_only_what_is_unambiguous() {
        let (a, b) = (SigningKey::ec("a"), SigningKey::ec("b"));
        let ed = SigningKey::ed25519("e");
        let set = parse(&json!([a.jwk(), b.jwk(), ed.jwk()])).unwrap();
        let id = |kid, algorithm| {
            set.select(kid, algorithm)
                .map(|k| k.id().map(str::to_owned))
        };
        assert_eq!(id(Some("b"), Algorithm::Es256), Ok(Some("b".to_owned())));
        assert_eq!(id(Some("c"), Algorithm::Es256), Err(Unselected::Unknown));
        assert_eq!(id(Some("a"), Algorithm::Rs256), Err(Unselected::Algorithm));
        assert_eq!(id(None, Algorithm::Es256), Err(Unselected::Ambiguous));
        assert_eq!(id(None, Algorithm::EdDsa), Ok(Some("e".to_owned())));
        assert_eq!(id(None, Algorithm::Rs256), Err(Unselected::Unknown));
        let twice = parse(&json!([a.jwk(), SigningKey::ec("a").jwk()])).unwrap();
        let refused = twice.select(Some("a"), Algorithm::Es256).unwrap_err();
        assert_eq!(refused, Unselected::Ambiguous);
    }
}
