//! Development keys, and tokens signed with them.
//!
//! A server needs keys before anybody has an identity provider. These are made on the spot, are its own, and have the
//! key id `dev-key`. Where they are kept, and with which modes, is the business of whoever asks for them.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fastmcp_guard::clock::Timestamp;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::crypto::aws_lc;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use crate::algorithm::Algorithm;
use crate::jwks::{JwkSet, JwksError};
use crate::signing;

/// The id of the development key.
pub const DEV_KEY_ID: &str = "dev-key";

/// The longest that a minted token is good: 30 days.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Key material or a token that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// A claim that tokens must have is empty.
    #[error("`{0}` must not be empty")]
    Empty(&'static str),
    /// The library could not make a key.
    #[error("no key could be generated")]
    Generate,
    /// The private key cannot be read.
    #[error("the private key is not an RSA key in PEM (`BEGIN PRIVATE KEY`) of 2048 to 8192 bits")]
    Key,
    /// The public half of the key cannot be used.
    #[error("the public key cannot be used")]
    Public(#[from] JwksError),
    /// The lifetime is out of bounds.
    #[error("`lifetime` must lie between 1 second and 30 days")]
    Lifetime,
    /// An additional claim would replace one of the named ones.
    #[error("`extra` must not hold the claim `{0}`, which has a field of its own")]
    Reserved(String),
}

/// A key pair for development: RSA, 2048 bits.
pub struct DevKeys {
    private_pem: SecretString,
    jwks: String,
}

impl DevKeys {
    /// Makes a new pair. Takes up to some seconds of CPU time: call it where it may block.
    ///
    /// The randomness is that of the cryptographic library, which takes no other.
    ///
    /// # Errors
    /// If the library fails.
    pub fn generate() -> Result<Self, MintError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| MintError::Generate)?;
        let der = pair.as_der().map_err(|_| MintError::Generate)?;
        let pem = pem::Pem::new("PRIVATE KEY", der.as_ref());
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        Self::from_pem(&SecretString::from(pem::encode_config(&pem, config)))
    }

    /// Takes a private key that was made before.
    ///
    /// # Errors
    /// If it is not an RSA key in PEM.
    pub fn from_pem(private_pem: &SecretString) -> Result<Self, MintError> {
        let jwk = public_jwk(private_pem, DEV_KEY_ID)?;
        Ok(Self {
            private_pem: private_pem.clone(),
            jwks: json!({ "keys": [jwk] }).to_string(),
        })
    }

    /// The private half: PKCS#8, PEM.
    #[must_use]
    pub const fn private_pem(&self) -> &SecretString {
        &self.private_pem
    }

    /// The public half: the JSON of a JWK Set with the key `dev-key`.
    #[must_use]
    pub fn jwks_json(&self) -> &str {
        &self.jwks
    }

    /// The public half, ready for a verifier.
    ///
    /// # Errors
    /// If the key is too weak or too strong.
    pub fn jwks(&self) -> Result<JwkSet, MintError> {
        Ok(JwkSet::parse(self.jwks.as_bytes())?)
    }
}

impl fmt::Debug for DevKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevKeys")
            .field("jwks", &self.jwks)
            .finish_non_exhaustive()
    }
}

fn rsa_key(private_pem: &SecretString) -> Result<EncodingKey, MintError> {
    EncodingKey::from_rsa_pem(private_pem.expose_secret().as_bytes()).map_err(|_| MintError::Key)
}

fn public_jwk(private_pem: &SecretString, kid: &str) -> Result<Value, MintError> {
    let key = rsa_key(private_pem)?;
    let components = aws_lc::DEFAULT_PROVIDER
        .key_utils
        .rsa_pub_components_from_private_key;
    let (n, e) = components(key.as_bytes()).map_err(|_| MintError::Key)?;
    Ok(json!({
        "kty": "RSA",
        "use": "sig",
        "alg": Algorithm::Rs256.name(),
        "kid": kid,
        "n": URL_SAFE_NO_PAD.encode(n),
        "e": URL_SAFE_NO_PAD.encode(e),
    }))
}

/// What a minted token says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    /// `iss`.
    pub issuer: String,
    /// `aud`: one becomes a string, several a list.
    pub audiences: Vec<String>,
    /// `sub`.
    pub subject: String,
    /// `tenant`.
    pub tenant: Option<String>,
    /// `roles`.
    pub roles: Vec<String>,
    /// `scopes`; `None` leaves the claim out, an empty list narrows the token to nothing.
    pub scopes: Option<Vec<String>>,
    /// `iat`, in whole seconds.
    pub issued_at: Timestamp,
    /// What lies between `iat` and `exp`: 1 second to 30 days.
    pub lifetime: Duration,
    /// Claims beyond these.
    pub extra: Map<String, Value>,
}

impl Claims {
    fn to_json(&self) -> Result<Value, MintError> {
        for (name, empty) in [
            ("issuer", self.issuer.is_empty()),
            ("subject", self.subject.is_empty()),
            (
                "audiences",
                self.audiences.is_empty() || self.audiences.iter().any(String::is_empty),
            ),
        ] {
            if empty {
                return Err(MintError::Empty(name));
            }
        }
        if self.lifetime < Duration::from_secs(1) || self.lifetime > MAX_LIFETIME {
            return Err(MintError::Lifetime);
        }
        let issued_at = self.issued_at.unix_seconds();
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), json!(self.issuer));
        claims.insert("sub".to_owned(), json!(self.subject));
        let audience = match self.audiences.as_slice() {
            [one] => json!(one),
            several => json!(several),
        };
        claims.insert("aud".to_owned(), audience);
        claims.insert("iat".to_owned(), json!(issued_at));
        let expires_at = issued_at.saturating_add(self.lifetime.as_secs());
        claims.insert("exp".to_owned(), json!(expires_at));
        if let Some(tenant) = &self.tenant {
            claims.insert("tenant".to_owned(), json!(tenant));
        }
        claims.insert("roles".to_owned(), json!(self.roles));
        if let Some(scopes) = &self.scopes {
            claims.insert("scopes".to_owned(), json!(scopes));
        }
        for (name, value) in &self.extra {
            let named = ["tenant", "scopes"].contains(&name.as_str());
            if named || claims.contains_key(name) {
                return Err(MintError::Reserved(name.clone()));
            }
            claims.insert(name.clone(), value.clone());
        }
        Ok(Value::Object(claims))
    }
}

/// Mints an RS256 token: `typ` is `at+jwt` (RFC 9068, section 2.1), `kid` is as given.
///
/// # Errors
/// If the key cannot be read or a claim is out of bounds.
pub fn mint(private_pem: &SecretString, kid: &str, claims: &Claims) -> Result<String, MintError> {
    let key = rsa_key(private_pem)?;
    let claims = claims.to_json()?;
    let header = json!({"alg": Algorithm::Rs256.name(), "typ": "at+jwt", "kid": kid});
    signing::sign(&header, &claims, &key, Algorithm::Rs256).ok_or(MintError::Key)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fastmcp_guard::clock::ManualClock;

    use super::*;
    use crate::jwt::{JwtConfig, JwtVerifier};
    use crate::verifier::TokenVerifier as _;

    fn claims() -> Claims {
        Claims {
            issuer: "https://idp.local".to_owned(),
            audiences: vec!["fastmcp".to_owned()],
            subject: "agent-1".to_owned(),
            tenant: Some("public".to_owned()),
            roles: vec!["mcp-user".to_owned()],
            scopes: Some(vec!["tools.invoke:read".to_owned()]),
            issued_at: Timestamp::from_unix_seconds(1_000),
            lifetime: Duration::from_secs(600),
            extra: Map::new(),
        }
    }

    #[tokio::test]
    async fn a_generated_key_mints_what_a_verifier_accepts() {
        let keys = DevKeys::generate().unwrap();
        let pem = keys.private_pem().expose_secret();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n") && !pem.contains('\r'));
        assert!(!format!("{keys:?}").contains("PRIVATE"));
        assert!(!keys.jwks_json().contains("\"d\""));
        let again = DevKeys::from_pem(keys.private_pem()).unwrap();
        assert_eq!(again.jwks_json(), keys.jwks_json());

        let token = mint(keys.private_pem(), DEV_KEY_ID, &claims()).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_000)));
        let mut config = JwtConfig::new("https://idp.local", "fastmcp");
        config.require_tenant = true;
        let verifier = JwtVerifier::new(config, keys.jwks().unwrap(), clock).unwrap();
        let caller = verifier.verify(&token).await.unwrap();
        assert_eq!(caller.subject(), "agent-1");
        assert_eq!(caller.tenant(), Some("public"));
        assert_eq!(caller.roles(), ["mcp-user"]);
        assert!(caller.has_scope("tools.invoke:read"));
        assert_eq!(
            caller.expires_at(),
            Some(Timestamp::from_unix_seconds(1_600))
        );
    }

    #[test]
    fn claims_are_checked() {
        let json = |change: fn(&mut Claims)| {
            let mut claims = claims();
            change(&mut claims);
            claims.to_json()
        };
        assert_eq!(json(|_| {}).unwrap()["aud"], "fastmcp");
        let two = json(|c| c.audiences.push("b".to_owned())).unwrap();
        assert_eq!(two["aud"], json!(["fastmcp", "b"]));
        assert!(json(|c| c.scopes = None).unwrap().get("scopes").is_none());
        assert!(json(|c| c.subject.clear()).is_err());
        assert!(json(|c| c.audiences.clear()).is_err());
        assert!(json(|c| c.lifetime = Duration::ZERO).is_err());
        assert!(json(|c| c.lifetime = Duration::MAX).is_err());
        for reserved in ["exp", "sub", "tenant", "scopes"] {
            let mut claims = claims();
            claims.tenant = None;
            claims.extra.insert(reserved.to_owned(), json!(1));
            assert!(claims.to_json().is_err(), "{reserved}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        for bad in [
            "",
            "x",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            let pem = SecretString::from(bad);
            assert!(matches!(DevKeys::from_pem(&pem), Err(MintError::Key)));
            assert!(mint(&pem, "k", &claims()).is_err());
        }
    }
}
