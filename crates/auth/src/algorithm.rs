//! The signature algorithms that a token may use.

use std::fmt;
use std::str::FromStr;

use crate::error::ConfigError;

/// A signature algorithm with a public and a private key.
///
/// Algorithms with a shared secret (`HS256` and its kin) and `none` cannot be expressed, so that no configuration and no
/// token can bring them in.
///
/// Source: RFC 7518, section 3.1; RFC 8037, section 3.1 (`EdDSA`); RFC 9864, section 2.2 (`Ed25519`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
}

/// The kind of key that an algorithm needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Ed25519,
    P256,
    P384,
    Rsa,
}

impl Algorithm {
    /// What can be chosen from, as error messages list it.
    pub const CHOICES: &'static str =
        "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA";

    /// The name of the algorithm in a token's `alg` header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }

    /// The algorithm that `name` stands for, in a token's header or a key's `alg`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            // RFC 9864 deprecates the first spelling in favour of the second; issuers use both.
            "EdDSA" | "Ed25519" => Self::EdDsa,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            _ => return None,
        })
    }

    pub(crate) const fn family(self) -> Family {
        match self {
            Self::EdDsa => Family::Ed25519,
            Self::Es256 => Family::P256,
            Self::Es384 => Family::P384,
            Self::Ps256 | Self::Ps384 | Self::Ps512 | Self::Rs256 | Self::Rs384 | Self::Rs512 => {
                Family::Rsa
            }
        }
    }

    pub(crate) const fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Ps384 => jsonwebtoken::Algorithm::PS384,
            Self::Ps512 => jsonwebtoken::Algorithm::PS512,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Rs384 => jsonwebtoken::Algorithm::RS384,
            Self::Rs512 => jsonwebtoken::Algorithm::RS512,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<Self, ConfigError> {
        if let Some(algorithm) = Self::from_name(name) {
            return Ok(algorithm);
        }
        let name = name.to_owned();
        if name.to_ascii_uppercase().starts_with("HS") {
            return Err(ConfigError::SymmetricAlgorithm { name });
        }
        Err(ConfigError::UnsupportedAlgorithm { name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_parses_and_keeps_its_name() {
        let choices = Algorithm::CHOICES.replace(" or ", ", ");
        assert_eq!(choices.split(", ").count(), 9);
        for name in choices.split(", ") {
            assert_eq!(name.parse::<Algorithm>().unwrap().name(), name);
        }
        assert_eq!("Ed25519".parse(), Ok(Algorithm::EdDsa));
    }

    #[test]
    fn shared_secrets_and_strangers_are_refused_by_name() {
        for name in ["HS256", "HS512", "hs256"] {
            let refused = name.parse::<Algorithm>().unwrap_err();
            assert!(matches!(refused, ConfigError::SymmetricAlgorithm { .. }));
            assert!(refused.to_string().contains(name), "{refused}");
        }
        for name in ["none", "", "RS1", "ES512", "rs256"] {
            let refused = name.parse::<Algorithm>().unwrap_err();
            assert!(matches!(refused, ConfigError::UnsupportedAlgorithm { .. }));
        }
    }
}
