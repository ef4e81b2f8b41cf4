//! The secret that redeems a ticket.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fastmcp_guard::random::{Random, RandomError};
use secrecy::{ExposeSecret as _, SecretString};

/// The longest text that is taken for a token, in bytes: beyond what [`TokenBytes`] allows.
const MAX_TOKEN_CHARS: usize = 128;

/// How many random bytes a token has: 16 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBytes(usize);

/// A number that is not a [`TokenBytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`ACTION_TOKEN_BYTES` takes 16 to 64, not `{0}`")]
pub struct InvalidTokenBytes(usize);

impl TokenBytes {
    /// Checks the number.
    ///
    /// # Errors
    ///
    /// [`InvalidTokenBytes`] outside of 16 to 64.
    pub const fn new(bytes: usize) -> Result<Self, InvalidTokenBytes> {
        if bytes < 16 || bytes > 64 {
            Err(InvalidTokenBytes(bytes))
        } else {
            Ok(Self(bytes))
        }
    }
}

impl Default for TokenBytes {
    /// 24 bytes, 192 bits. Source: the platform document, `ACTION_TOKEN_BYTES=24`.
    fn default() -> Self {
        Self(24)
    }
}

/// Random bytes as base64url text (RFC 4648, section 5, without padding). Its `Debug` does not show it.
#[derive(Clone)]
pub struct ActionToken(SecretString);

impl ActionToken {
    pub(super) fn generate(
        bytes: TokenBytes,
        random: &dyn Random,
    ) -> Result<Self, crate::state::StateError> {
        // What is short may have been asked for ahead, and a secret lies nowhere before it is one.
        let mut secret = vec![0; bytes.0.max(32)];
        random
            .fill(&mut secret)
            .map_err(|error: RandomError| crate::state::StateError::from(error))?;
        secret.truncate(bytes.0);
        Ok(Self(URL_SAFE_NO_PAD.encode(secret).into()))
    }

    /// The token that was stored as `bytes`.
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        String::from_utf8(bytes).ok().map(|text| Self(text.into()))
    }

    /// The token itself, for the caller's answer and nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        sha256(self.expose())
    }
}

impl fmt::Debug for ActionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActionToken(..)")
    }
}

/// The hash under which a presented token would be stored; `None` when it cannot be one.
///
/// Tokens are looked up by their hash, so no comparison of secrets takes place whose time could tell something, and
/// who reads the table cannot redeem.
pub(crate) fn hash(presented: &str) -> Option<[u8; 32]> {
    (!presented.is_empty() && presented.len() <= MAX_TOKEN_CHARS).then(|| sha256(presented))
}

fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    let digest = digest(&SHA256, text.as_bytes());
    for (to, from) in hash.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    hash
}

#[cfg(test)]
mod tests {
    use fastmcp_guard::random::OsRandom;

    use super::*;

    #[test]
    fn a_token_has_its_bytes_and_hides_them() {
        let token = ActionToken::generate(TokenBytes::default(), &OsRandom).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(token.expose()).unwrap().len(), 24);
        assert_eq!(format!("{token:?}"), "ActionToken(..)");
        assert_eq!(hash(token.expose()), Some(token.hash()));
        let other = ActionToken::generate(TokenBytes::default(), &OsRandom).unwrap();
        assert_ne!(token.expose(), other.expose());
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(TokenBytes::new(15), Err(InvalidTokenBytes(15)));
        assert_eq!(TokenBytes::new(65), Err(InvalidTokenBytes(65)));
        let longest = ActionToken::generate(TokenBytes::new(64).unwrap(), &OsRandom).unwrap();
        assert!(hash(longest.expose()).is_some());
        assert_eq!(hash(""), None);
        assert_eq!(hash(&"a".repeat(MAX_TOKEN_CHARS + 1)), None);
    }

    #[test]
    fn the_hash_is_sha_256() {
        // FIPS 180-2, appendix B.1: "abc".
        let hash = hash("abc").unwrap();
        assert_eq!(hash[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(hash[28..], [0xf2, 0x00, 0x15, 0xad]);
    }
}
