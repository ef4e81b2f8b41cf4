//! The keys of a proxy: one secret, from which all of them follow.

use std::fmt;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use fastmcp_guard::random::{self, Random};
use fastmcp_guard::seal::KeyRing;
use jsonwebtoken::EncodingKey;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use crate::algorithm::Algorithm;
use crate::digest::sha256;
use crate::error::ConfigError;
use crate::jwks::JwkSet;
use crate::signing;

/// The setting, as errors name it.
const FIELD: &str = "proxy keys";

/// The most keys of a ring.
const MAX_KEYS: usize = 8;

/// Base64, either alphabet being brought to this one first, with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a proxy signs and seals with.
///
/// Each of its secrets yields a key that seals (AES-256-GCM) and one that signs (Ed25519), by HKDF-SHA256 (RFC 5869). The
/// first secret is used for what is new, the others for what is still about; so keys rotate by putting a new one in
/// front, and taking the last away once what it made has expired. Replicas need the same ones in the same order.
pub struct ProxyKeys {
    ring: KeyRing,
    signer: EncodingKey,
    kid: String,
    verifying: JwkSet,
}

impl ProxyKeys {
    /// Takes 1 to 8 secrets of 32 random bytes each.
    ///
    /// # Errors
    /// If there are none or too many, or one of them cannot be random.
    pub fn new(secrets: &[[u8; 32]]) -> Result<Self, ConfigError> {
        ConfigError::unless_empty(FIELD, secrets.is_empty())?;
        let count = u64::try_from(secrets.len()).unwrap_or(u64::MAX);
        ConfigError::unless_outside(FIELD, count, 1..=MAX_KEYS as u64)?;
        let unfit = |problem| ConfigError::UnfitSecret {
            field: FIELD,
            problem,
        };
        if secrets.iter().any(is_guessable) {
            return Err(unfit(
                "holds a secret that is not random: make one with `openssl rand -base64 32`",
            ));
        }
        let broken = || unfit("cannot be used by the cryptographic library");
        let mut sealing = Vec::with_capacity(secrets.len());
        let mut signing = Vec::with_capacity(secrets.len());
        for secret in secrets {
            sealing.push(derived(secret, b"seal").ok_or_else(broken)?);
            let seed = derived(secret, b"sign").ok_or_else(broken)?;
            signing.push(Signing::of(&seed).ok_or_else(broken)?);
        }
        let set = json!({"keys": signing.iter().map(|key| &key.jwk).collect::<Vec<_>>()});
        let first = signing.into_iter().next().ok_or_else(broken)?;
        Ok(Self {
            ring: KeyRing::new(&sealing).map_err(|_| broken())?,
            signer: first.private,
            kid: first.kid,
            verifying: JwkSet::parse(set.to_string().as_bytes()).map_err(|_| broken())?,
        })
    }

    /// Reads secrets as configurations hold them: base64 of 32 bytes each, separated by commas.
    ///
    /// # Errors
    /// As [`new`](Self::new), and if one is no base64 of 32 bytes.
    pub fn parse(text: &SecretString) -> Result<Self, ConfigError> {
        let mut secrets = Vec::new();
        for part in text.expose_secret().split(',') {
            let one = part.trim().replace('+', "-").replace('/', "_");
            let secret = LENIENT.decode(one).ok();
            let secret = secret.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            secrets.push(secret.ok_or(ConfigError::UnfitSecret {
                field: FIELD,
                problem: "is not base64 of 32 bytes: make one with `openssl rand -base64 32`",
            })?);
        }
        Self::new(&secrets)
    }

    /// Keys of this process alone: everybody has to log in again when it is started anew. For development and tests.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn ephemeral(random: &dyn Random) -> Result<Self, ConfigError> {
        let secret = random::array::<32>(random).map_err(|_| ConfigError::UnfitSecret {
            field: FIELD,
            problem: "cannot be made: the system has no randomness",
        })?;
        Self::new(&[secret])
    }

    pub(super) const fn ring(&self) -> &KeyRing {
        &self.ring
    }

    pub(super) fn verifying(&self) -> JwkSet {
        self.verifying.clone()
    }

    /// Signs an access token. Source: RFC 9068, section 2.1.
    pub(super) fn sign(&self, claims: Map<String, Value>) -> Option<String> {
        let header = json!({"alg": Algorithm::EdDsa.name(), "typ": "at+jwt", "kid": self.kid});
        signing::sign(
            &header,
            &Value::Object(claims),
            &self.signer,
            Algorithm::EdDsa,
        )
    }
}

impl fmt::Debug for ProxyKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyKeys")
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}

/// One key that signs.
struct Signing {
    private: EncodingKey,
    kid: String,
    jwk: Value,
}

impl Signing {
    fn of(seed: &[u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let der = pair.to_pkcs8v1().ok()?;
        let public = pair.public_key().as_ref();
        let kid = URL_SAFE_NO_PAD.encode(sha256(public).get(..8)?);
        let jwk = json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": kid, "x": URL_SAFE_NO_PAD.encode(public),
        });
        Some(Self {
            private: EncodingKey::from_ed_der(der.as_ref()),
            kid,
            jwk,
        })
    }
}

/// A key for one purpose.
fn derived(secret: &[u8; 32], purpose: &[u8]) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    Salt::new(HKDF_SHA256, b"fastmcp oauth proxy 1")
        .extract(secret)
        .expand(&[purpose], HKDF_SHA256)
        .ok()?
        .fill(&mut key)
        .ok()?;
    Some(key)
}

/// Whether a secret is an example, a phrase or a pattern: random bytes have at least 16 different ones (of 32, all but
/// once in 10^15), and are not all printable.
fn is_guessable(secret: &[u8; 32]) -> bool {
    let mut sorted = *secret;
    sorted.sort_unstable();
    let different = 1 + sorted
        .windows(2)
        .filter(|pair| pair.first() != pair.last())
        .count();
    let ascends = secret.windows(2).all(|pair| pair.first() <= pair.last());
    different < 16 || ascends || secret.iter().all(|byte| (b' '..=b'~').contains(byte))
}

#[cfg(test)]
mod tests {
    use fastmcp_guard::random::OsRandom;

    use super::*;

    #[test]
    fn secrets_that_can_be_guessed_are_refused() {
        let ascending: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        for bad in [
            [0; 32],
            [7; 32],
            *b"change-me-change-me-change-me-ok",
            ascending,
        ] {
            assert!(ProxyKeys::new(&[bad]).is_err(), "{bad:?}");
        }
        assert!(ProxyKeys::new(&[]).is_err());
        for bad in ["", "secret", "c2hvcnQ=", "!"] {
            assert!(ProxyKeys::parse(&bad.into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_are_read_in_every_spelling_of_base64() {
        let secret: [u8; 32] = random::array(&OsRandom).unwrap();
        let plain = base64::engine::general_purpose::STANDARD.encode(secret);
        let url = URL_SAFE_NO_PAD.encode(secret);
        for text in [&plain, &url, &format!("{plain}, {url}")] {
            let keys = ProxyKeys::parse(&text.as_str().into()).unwrap();
            let made = ProxyKeys::new(&[secret]).unwrap();
            assert_eq!(keys.kid, made.kid);
            let sealed = made.ring().seal(b"x", b"value").unwrap();
            assert_eq!(keys.ring().open(b"x", &sealed).unwrap(), b"value");
        }
    }

    #[test]
    fn debug_shows_no_secret_and_keys_differ() {
        let (one, other) = (
            ProxyKeys::ephemeral(&OsRandom).unwrap(),
            ProxyKeys::ephemeral(&OsRandom).unwrap(),
        );
        assert_ne!(one.kid, other.kid);
        assert_eq!(
            format!("{one:?}"),
            "ProxyKeys { ring: KeyRing { keys: 1 }, .. }"
        );
    }
}
