//! Proofs that a token's user holds the key that it is bound to.
//!
//! Source: RFC 9449; RFC 7638.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fastmcp_guard::clock::Clock;
use fastmcp_guard::random::Random;
use http::{HeaderMap, HeaderName, HeaderValue};
use jsonwebtoken::EncodingKey;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde_json::{Value, json};

use super::error::OAuthError;
use super::identifier::split_origin;
use super::pkce::unguessable;
use crate::algorithm::Algorithm;
use crate::digest::sha256;
use crate::signing;

/// The header that a proof stands in.
pub(crate) const PROOF: HeaderName = HeaderName::from_static("dpop");

/// The header in which a server names the nonce that it wants in the next proof.
pub(crate) const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Longest nonce that is taken, in bytes.
const MAX_NONCE_BYTES: usize = 512;

/// The most origins whose nonces are kept.
const MAX_NONCES: usize = 64;

/// What a proof is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose<'a> {
    /// The HTTP method of the request.
    pub(crate) method: &'a str,
    /// Its URL.
    pub(crate) url: &'a str,
    /// The nonce that the server wants.
    pub(crate) nonce: Option<&'a str>,
    /// The token that goes along, to a resource.
    pub(crate) token: Option<&'a str>,
}

/// A key on P-256 that tokens are bound to.
pub(crate) struct ProofKey {
    pkcs8: SecretBox<[u8]>,
    signer: EncodingKey,
    jwk: Value,
}

impl ProofKey {
    /// A new key. The randomness is that of the cryptographic library, which takes no other.
    pub(crate) fn generate() -> Result<Self, OAuthError> {
        let pair =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Self::from_pkcs8(pair.map_err(|_| unfit("it cannot be generated"))?.as_ref())
    }

    /// A key that was made before.
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, OAuthError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
            .map_err(|_| unfit("it cannot be read"))?;
        // An uncompressed point: a mark, then both coordinates (SEC 1, section 2.3.3).
        let point = pair.public_key().as_ref();
        let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else {
            return Err(unfit("it is on another curve"));
        };
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        Ok(Self {
            pkcs8: SecretBox::new(pkcs8.into()),
            signer: EncodingKey::from_ec_der(pkcs8),
            jwk: json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}),
        })
    }

    /// The key as it is stored.
    pub(crate) fn pkcs8(&self) -> &[u8] {
        self.pkcs8.expose_secret()
    }

    /// What names the public key in a token's `cnf` (RFC 9449, section 6.1).
    pub(crate) fn thumbprint(&self) -> String {
        thumbprint(&self.jwk)
    }

    /// A fresh proof (section 4.2).
    pub(crate) fn proof(
        &self,
        purpose: Purpose<'_>,
        clock: &dyn Clock,
        random: &dyn Random,
    ) -> Result<HeaderValue, OAuthError> {
        let header = json!({
            "typ": "dpop+jwt", "alg": Algorithm::Es256.name(), "jwk": self.jwk,
        });
        let mut claims = json!({
            "jti": unguessable(random)?,
            "htm": purpose.method,
            "htu": target(purpose.url),
            "iat": clock.now().unix_seconds(),
        });
        if let Some(claims) = claims.as_object_mut() {
            if let Some(nonce) = purpose.nonce {
                claims.insert("nonce".to_owned(), json!(nonce));
            }
            if let Some(token) = purpose.token {
                claims.insert("ath".to_owned(), json!(token_hash(token)));
            }
        }
        signing::sign(&header, &claims, &self.signer, Algorithm::Es256)
            .and_then(|proof| HeaderValue::try_from(proof).ok())
            .ok_or_else(|| unfit("it does not sign"))
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofKey").finish_non_exhaustive()
    }
}

const fn unfit(reason: &'static str) -> OAuthError {
    OAuthError::Key {
        what: "the key that tokens are bound to",
        reason,
    }
}

/// A URL without query and fragment (section 4.2, `htu`).
fn target(url: &str) -> &str {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    url.get(..end).unwrap_or(url)
}

/// Source: RFC 9449, section 4.2, `ath`.
fn token_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(token.as_bytes()))
}

/// The SHA-256 thumbprint of an EC, RSA or OKP key (RFC 7638, section 3; RFC 8037, section 2).
fn thumbprint(jwk: &Value) -> String {
    let member = |name: &str| jwk.get(name).cloned().unwrap_or_default();
    let required: &[&str] = match member("kty").as_str() {
        Some("RSA") => &["e", "kty", "n"],
        Some("OKP") => &["crv", "kty", "x"],
        _ => &["crv", "kty", "x", "y"],
    };
    let members: Vec<String> = required
        .iter()
        .map(|name| format!("\"{name}\":{}", member(name)))
        .collect();
    URL_SAFE_NO_PAD.encode(sha256(format!("{{{}}}", members.join(",")).as_bytes()))
}

/// The nonces that servers want, by origin (sections 8 and 9).
#[derive(Debug, Default)]
pub(crate) struct Nonces(Mutex<HashMap<String, String>>);

impl Nonces {
    /// The nonce that the server of `url` wants.
    pub(crate) fn of(&self, url: &str) -> Option<String> {
        let nonces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        nonces.get(split_origin(url).0).cloned()
    }

    /// Keeps the nonce of an answer, and returns whether it is a new one.
    pub(crate) fn note(&self, url: &str, headers: &HeaderMap) -> bool {
        let nonce = headers.get(&NONCE).and_then(|value| value.to_str().ok());
        let Some(nonce) = nonce.filter(|nonce| is_nonce(nonce)) else {
            return false;
        };
        let origin = split_origin(url).0;
        let mut nonces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if nonces.len() >= MAX_NONCES && !nonces.contains_key(origin) {
            nonces.clear();
        }
        nonces
            .insert(origin.to_owned(), nonce.to_owned())
            .as_deref()
            != Some(nonce)
    }
}

/// Source: RFC 9449, section 8.1: `nonce = 1*NQCHAR`.
fn is_nonce(text: &str) -> bool {
    let allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !text.is_empty() && text.len() <= MAX_NONCE_BYTES && text.bytes().all(allowed)
}

/// A secret as text that can be stored.
pub(crate) fn encoded(key: &ProofKey) -> SecretString {
    URL_SAFE_NO_PAD.encode(key.pkcs8()).into()
}

/// Reads what [`encoded`] wrote.
pub(crate) fn decoded(text: &SecretString) -> Result<ProofKey, OAuthError> {
    let pkcs8 = URL_SAFE_NO_PAD
        .decode(text.expose_secret())
        .map_err(|_| unfit("it cannot be read"))?;
    ProofKey::from_pkcs8(&pkcs8)
}

#[cfg(test)]
mod tests {
    use fastmcp_guard::clock::{ManualClock, Timestamp};
    use fastmcp_guard::random::OsRandom;

    use super::*;

    fn parts(proof: &HeaderValue) -> (Value, Value) {
        let text = proof.to_str().unwrap();
        let part = |n: usize| {
            let part = text.split('.').nth(n).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        (part(0), part(1))
    }

    #[test]
    fn the_vectors_of_rfc_7638_and_rfc_9449() {
        let rsa = json!({
            "kty": "RSA",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRX\
                  jBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqz\
                  s8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-\
                  G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
            "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        });
        assert_eq!(
            thumbprint(&rsa),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
        let ec = json!({
            "kty": "EC", "crv": "P-256",
            "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
            "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
        });
        assert_eq!(
            thumbprint(&ec),
            "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
        );
        let token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
        assert_eq!(
            token_hash(token),
            "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
        );
    }

    #[test]
    fn a_proof_says_what_it_is_for_and_is_signed_by_its_key() {
        let key = ProofKey::generate().unwrap();
        let clock = ManualClock::new(Timestamp::from_unix_seconds(1_562_262_616));
        let purpose = Purpose {
            method: "POST",
            url: "https://server.example.com/mcp?x=1#y",
            nonce: Some("n-0"),
            token: Some("t"),
        };
        let proof = key.proof(purpose, &clock, &OsRandom).unwrap();
        let (header, claims) = parts(&proof);
        assert_eq!(header["typ"], "dpop+jwt");
        assert_eq!(header["alg"], "ES256");
        assert_eq!(
            header["jwk"].as_object().unwrap().len(),
            4,
            "the public half alone"
        );
        assert_eq!(claims["htm"], "POST");
        assert_eq!(claims["htu"], "https://server.example.com/mcp");
        assert_eq!(claims["iat"], 1_562_262_616);
        assert_eq!(claims["nonce"], "n-0");
        assert_eq!(claims["ath"], token_hash("t"));
        let other = key.proof(purpose, &clock, &OsRandom).unwrap();
        assert_ne!(parts(&other).1["jti"], claims["jti"]);

        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(header["jwk"].clone()).unwrap();
        let (message, signature) = proof.to_str().unwrap().rsplit_once('.').unwrap();
        let verified = jsonwebtoken::crypto::verify(
            signature,
            message.as_bytes(),
            &jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap(),
            jsonwebtoken::Algorithm::ES256,
        );
        assert!(verified.unwrap());
    }

    #[test]
    fn a_key_survives_storage_and_is_not_shown() {
        let key = ProofKey::generate().unwrap();
        let again = decoded(&encoded(&key)).unwrap();
        assert_eq!(key.thumbprint(), again.thumbprint());
        assert!(decoded(&"AAAA".into()).is_err());
        assert_eq!(format!("{key:?}"), "ProofKey { .. }");
    }

    #[test]
    fn nonces_are_kept_by_origin_and_bounded() {
        let nonces = Nonces::default();
        let with = |nonce: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(NONCE, HeaderValue::from_str(nonce).unwrap());
            headers
        };
        assert!(nonces.note("https://h/token", &with("one")));
        assert!(!nonces.note("https://h/other", &with("one")));
        assert_eq!(nonces.of("https://h/x").as_deref(), Some("one"));
        assert_eq!(nonces.of("https://h:8443/x"), None);
        assert!(!nonces.note("https://h/token", &with("a\"b")));
        assert!(!nonces.note("https://h/token", &with(&"n".repeat(513))));
        assert!(!nonces.note("https://h/token", &HeaderMap::new()));
        for n in 0..200 {
            nonces.note(&format!("https://h{n}/"), &with("x"));
        }
        assert!(nonces.0.lock().unwrap().len() <= MAX_NONCES);
    }
}
