//! The proof that who redeems a code is who asked for it, and texts that nobody can guess.
//!
//! Source: RFC 7636.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fastmcp_guard::random::{self, Random, RandomError};
use secrecy::{ExposeSecret, SecretString};

use crate::digest::sha256;

/// A verifier, and the challenge that stands for it.
#[derive(Debug)]
pub(crate) struct Pkce {
    verifier: SecretString,
    challenge: String,
}

impl Pkce {
    /// A new pair: 32 random bytes, 43 characters (section 4.1).
    pub(crate) fn generate(random: &dyn Random) -> Result<Self, RandomError> {
        Ok(Self::of(unguessable(random)?.into()))
    }

    /// Source: section 4.2, method `S256`.
    fn of(verifier: SecretString) -> Self {
        let digest = sha256(verifier.expose_secret().as_bytes());
        Self {
            verifier,
            challenge: URL_SAFE_NO_PAD.encode(digest),
        }
    }

    pub(crate) fn verifier(&self) -> &str {
        self.verifier.expose_secret()
    }

    pub(crate) fn challenge(&self) -> &str {
        &self.challenge
    }
}

/// A text of 43 characters that nobody can guess.
pub(crate) fn unguessable(random: &dyn Random) -> Result<String, RandomError> {
    Ok(URL_SAFE_NO_PAD.encode(random::array::<32>(random)?))
}

#[cfg(test)]
mod tests {
    use fastmcp_guard::random::OsRandom;

    use super::*;

    #[test]
    fn the_vector_of_rfc_7636_appendix_b() {
        let pair = Pkce::of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into());
        assert_eq!(
            pair.challenge(),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn verifiers_are_long_differ_and_are_not_shown() {
        let (one, other) = (
            Pkce::generate(&OsRandom).unwrap(),
            Pkce::generate(&OsRandom).unwrap(),
        );
        assert_eq!(one.verifier().len(), 43);
        assert_ne!(one.verifier(), other.verifier());
        assert!(!format!("{one:?}").contains(one.verifier()));
    }
}
