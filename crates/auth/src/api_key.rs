//! API keys: tokens for machines that have no identity provider.
//!
//! A key reads `fmk_<id>_<secret><checksum>`: a prefix by which scanners of leaked secrets know it, 16 hex digits of an
//! id that is not secret, 64 of a secret, and 8 of a checksum, so that a mistyped or shortened key is told without a
//! look-up. What is kept of it is its SHA-256. A slow hash as for passwords would protect nothing: there are 2^256
//! secrets, all equally likely, so that nobody who holds the hashes can try them, however fast each try is; and it
//! would let anybody make the server work hard.

use std::collections::HashMap;
use std::fmt;

use data_encoding::HEXLOWER;
use fastmcp_guard::random::{Random, RandomError, array};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::caller::Caller;
use crate::digest::{Sha256, sha256};
use crate::error::ConfigError;
use crate::verifier::{StaticIdentity, VerifyError};
use fastmcp_guard::clock::Timestamp;

/// What every key begins with.
pub const PREFIX: &str = "fmk_";
/// The most keys of one table.
pub const MAX_KEYS: usize = 10_000;

const FIELD: &str = "API keys";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;

/// Whether `token` claims to be an API key. Nobody but the table of keys is then asked about it.
#[must_use]
pub fn is_api_key(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// A fresh key. Its text is to be shown once, to whoever will use it; what is kept is [`hash`](Self::hash).
pub struct ApiKey {
    id: String,
    text: SecretString,
}

impl ApiKey {
    /// Makes a key with a secret of 256 random bits.
    ///
    /// ```
    /// use fastmcp_auth::api_key::{ApiKey, is_api_key};
    /// use fastmcp_guard::random::OsRandom;
    ///
    /// let key = ApiKey::generate(&OsRandom)?;
    /// assert!(is_api_key(key.expose()));
    /// assert!(key.hash().to_string().starts_with("sha256:"));
    /// # Ok::<(), fastmcp_guard::random::RandomError>(())
    /// ```
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn generate(random: &dyn Random) -> Result<Self, RandomError> {
        let id = HEXLOWER.encode(&array::<ID_BYTES>(random)?);
        let secret = HEXLOWER.encode(&array::<SECRET_BYTES>(random)?);
        let body = format!("{PREFIX}{id}_{secret}");
        let text = format!("{body}{}", checksum(&body));
        Ok(Self {
            id,
            text: text.into(),
        })
    }

    /// The id: by it a key is listed and revoked. It is not secret.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> ApiKeyHash {
        ApiKeyHash(sha256(self.expose().as_bytes()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The SHA-256 of a key, written `sha256:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ApiKeyHash(Sha256);

impl ApiKeyHash {
    /// Reads a hash; `None` if `text` is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:")?.as_bytes();
        let mut hash: Sha256 = [0; 32];
        if digits.len() != 2 * hash.len() {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = <[u8; 2]>::try_from(pair).ok()?;
            *byte = digit(high)? << 4 | digit(low)?;
        }
        Some(Self(hash))
    }
}

impl fmt::Display for ApiKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ApiKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeyHash({self})")
    }
}

/// What a table knows of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKeyEntry {
    /// The id.
    pub id: String,
    /// The hash.
    pub hash: ApiKeyHash,
    /// Whom it stands for; its tenant must be named, and its `expires_at` is the key's.
    pub identity: StaticIdentity,
    /// Whether it was revoked. A revoked key stays in the table, so that its use is told from guessing in the log.
    pub revoked: bool,
}

/// A table of keys.
#[derive(Clone, Debug, Default)]
pub struct ApiKeys {
    by_id: HashMap<String, ApiKeyEntry>,
}

impl ApiKeys {
    /// The table of `entries`.
    ///
    /// # Errors
    /// If there are more than [`MAX_KEYS`], two have one id, an id is none, a name or scope is out of bounds, or a
    /// tenant is missing.
    pub fn new(entries: impl IntoIterator<Item = ApiKeyEntry>) -> Result<Self, ConfigError> {
        let mut by_id = HashMap::new();
        for entry in entries {
            let unfit = |problem| ConfigError::Unfit {
                field: FIELD,
                value: entry.id.chars().take(80).collect(),
                problem,
            };
            if !is_hex(&entry.id, 2 * ID_BYTES) {
                return Err(unfit("is no id of a key: it has 16 hex digits"));
            }
            if entry.identity.tenant.is_none() {
                return Err(unfit(
                    "is the id of a key without a tenant; a key speaks for one",
                ));
            }
            entry.identity.check()?;
            let count = u64::try_from(by_id.len()).unwrap_or(u64::MAX);
            ConfigError::unless_outside("API keys (how many)", count + 1, 1..=MAX_KEYS as u64)?;
            if by_id.contains_key(&entry.id) {
                return Err(unfit("is the id of two keys"));
            }
            by_id.insert(entry.id.clone(), entry);
        }
        Ok(Self { by_id })
    }

    /// How many keys there are, revoked and expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The caller that `token` stands for.
    pub(crate) fn check(&self, token: &str, now: Timestamp) -> Result<Caller, VerifyError> {
        let id = id_of(token).ok_or(VerifyError::UnknownToken)?;
        let entry = self.by_id.get(id).ok_or(VerifyError::UnknownToken)?;
        let hash = sha256(token.as_bytes());
        if !bool::from(hash.ct_eq(&entry.hash.0)) {
            return Err(VerifyError::UnknownToken);
        }
        if entry.revoked {
            return Err(VerifyError::RevokedKey);
        }
        if entry.identity.expires_at.is_some_and(|end| now >= end) {
            return Err(VerifyError::ExpiredKey);
        }
        Ok(entry.identity.clone().mint(token))
    }
}

/// The id of a key that is whole.
fn id_of(token: &str) -> Option<&str> {
    let (body, given) = token.split_at_checked(token.len().checked_sub(2 * CHECKSUM_BYTES)?)?;
    let (id, secret) = body.strip_prefix(PREFIX)?.split_once('_')?;
    let whole = is_hex(id, 2 * ID_BYTES)
        && is_hex(secret, 2 * SECRET_BYTES)
        // The checksum is no secret: whoever knows the key can compute it, and nobody else learns anything from it.
        && given == checksum(body);
    whole.then_some(id)
}

fn checksum(body: &str) -> String {
    let mut digits = HEXLOWER.encode(&sha256(body.as_bytes()));
    digits.truncate(2 * CHECKSUM_BYTES);
    digits
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| digit(b).is_some())
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fastmcp_guard::clock::ManualClock;
    use fastmcp_guard::random::OsRandom;

    use super::*;
    use crate::verifier::{ApiKeyVerifier, StaticTokens, TokenVerifier as _};

    fn entry(key: &ApiKey, subject: &str) -> ApiKeyEntry {
        ApiKeyEntry {
            id: key.id().to_owned(),
            hash: key.hash(),
            identity: StaticIdentity {
                subject: subject.to_owned(),
                tenant: Some("acme".to_owned()),
                roles: vec!["robot".to_owned()],
                ..StaticIdentity::default()
            },
            revoked: false,
        }
    }

    fn key() -> ApiKey {
        ApiKey::generate(&OsRandom).unwrap()
    }

    #[test]
    fn keys_are_recognised_and_differ() {
        let (one, two) = (key(), key());
        assert_eq!(one.expose().len(), 4 + 16 + 1 + 64 + 8);
        assert!(is_api_key(one.expose()) && one.expose() != two.expose());
        assert_eq!(id_of(one.expose()), Some(one.id()));
        assert!(!format!("{one:?}").contains(one.expose()));
        let hash = one.hash();
        assert_eq!(ApiKeyHash::parse(&hash.to_string()), Some(hash));
        for none in ["", "sha256:", "sha256:zz", &hash.to_string().to_uppercase()] {
            assert_eq!(ApiKeyHash::parse(none), None, "{none}");
        }
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let key = key();
        let keys = ApiKeys::new([entry(&key, "ci")]).unwrap();
        let now = Timestamp::from_unix_seconds(100);
        assert_eq!(keys.check(key.expose(), now).unwrap().subject(), "ci");
        for at in 0..key.expose().len() {
            let mut bytes = key.expose().as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            let refused = keys.check(&changed, now).unwrap_err();
            assert!(matches!(refused, VerifyError::UnknownToken), "{at}");
            assert!(keys.check(&key.expose()[..at], now).is_err());
        }
        // A secret of one's own under a known id, with its right checksum.
        let body = format!("{PREFIX}{}_{}", key.id(), "0".repeat(64));
        let forged = format!("{body}{}", checksum(&body));
        assert!(id_of(&forged).is_some());
        assert!(keys.check(&forged, now).is_err());
        assert!(keys.check("fmk_ünïcödé_0123456789", now).is_err());
    }

    #[tokio::test]
    async fn whoever_is_refused_learns_nothing_of_why() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(100)));
        let (good, revoked, expiring, unknown) = (key(), key(), key(), key());
        let mut entries = vec![
            entry(&good, "ci"),
            entry(&revoked, "ex"),
            entry(&expiring, "soon"),
        ];
        entries[1].revoked = true;
        entries[2].identity.expires_at = Some(Timestamp::from_unix_seconds(101));
        let verifier = ApiKeyVerifier::new(ApiKeys::new(entries).unwrap(), None, clock.clone());
        let caller = verifier.verify(good.expose()).await.unwrap();
        assert_eq!(
            (caller.tenant(), caller.roles()),
            (Some("acme"), &["robot".to_owned()][..])
        );
        assert_eq!(
            verifier.verify(expiring.expose()).await.unwrap().subject(),
            "soon"
        );
        clock.set(Timestamp::from_unix_seconds(101));
        let mut reasons = Vec::new();
        for key in [&revoked, &expiring, &unknown] {
            let refused = verifier.verify(key.expose()).await.unwrap_err();
            assert_eq!(refused.description(), "the token is not valid");
            reasons.push(refused.reason());
        }
        assert_eq!(reasons, ["revoked_key", "expired_key", "unknown_token"]);
        verifier.replace(ApiKeys::default());
        assert!(verifier.verify(good.expose()).await.is_err());
    }

    #[tokio::test]
    async fn nobody_else_is_asked_about_a_key() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(100)));
        let key = key();
        let other = StaticTokens::new()
            .token(key.expose(), entry(&key, "another").identity)
            .and_then(|tokens| tokens.token("0123456789abcdef", entry(&key, "token").identity))
            .and_then(|tokens| tokens.build(clock.clone()))
            .unwrap();
        let verifier = ApiKeyVerifier::new(ApiKeys::default(), Some(Arc::new(other)), clock);
        assert!(verifier.verify(key.expose()).await.is_err());
        let caller = verifier.verify("0123456789abcdef").await.unwrap();
        assert_eq!(caller.subject(), "token");
    }

    #[test]
    fn tables_are_checked() {
        let key = key();
        let twice = [entry(&key, "a"), entry(&key, "b")];
        assert!(
            ApiKeys::new(twice)
                .unwrap_err()
                .to_string()
                .contains("two keys")
        );
        let mut tenantless = entry(&key, "a");
        tenantless.identity.tenant = None;
        assert!(
            ApiKeys::new([tenantless])
                .unwrap_err()
                .to_string()
                .contains("tenant")
        );
        let mut nameless = entry(&key, "a");
        nameless.id = "x".to_owned();
        assert!(ApiKeys::new([nameless]).is_err());
        assert!(ApiKeys::new([entry(&key, "")]).is_err());
        assert!(ApiKeys::new([]).unwrap().is_empty());
    }
}
