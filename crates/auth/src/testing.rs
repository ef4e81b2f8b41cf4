//! Keys, tokens and callers for tests, of this workspace and of its users (feature `testing`).
//!
//! What is made here is as real as what it stands for; but since anybody can make a caller with [`caller`], a product
//! must not be built with this feature.

use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fastmcp_guard::clock::Timestamp;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::crypto::aws_lc;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use crate::algorithm::Algorithm;
use crate::caller::{Caller, Identity};
use crate::jwks::JwkSet;
use crate::signing;

/// A fresh key pair with an id.
pub struct SigningKey {
    algorithm: Algorithm,
    private: EncodingKey,
    jwk: Value,
}

#[expect(
    clippy::expect_used,
    reason = "test support: a library that cannot make a key ends the test"
)]
impl SigningKey {
    /// An RSA key of 2048 bits for RS256. Takes up to some seconds.
    ///
    /// # Panics
    /// If the cryptographic library fails.
    #[must_use]
    pub fn rsa(kid: &str) -> Self {
        let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048)
            .expect("an RSA key can be generated");
        let der = pair.as_der().expect("a key has a PKCS#8 form");
        let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()));
        let private = EncodingKey::from_rsa_pem(pem.as_bytes()).expect("a key that was just made");
        let components = aws_lc::DEFAULT_PROVIDER
            .key_utils
            .rsa_pub_components_from_private_key;
        let (n, e) = components(private.as_bytes()).expect("a key that was just made");
        let (n, e) = (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e));
        Self {
            algorithm: Algorithm::Rs256,
            private,
            jwk: json!({"kty": "RSA", "kid": kid, "use": "sig", "n": n, "e": e}),
        }
    }

    /// An EC key on P-256 for ES256.
    ///
    /// # Panics
    /// If the cryptographic library fails.
    #[must_use]
    pub fn ec(kid: &str) -> Self {
        let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new())
            .expect("an EC key can be generated");
        let pair = EcdsaKeyPair::from_pkcs8(signing, der.as_ref()).expect("a key just made");
        let point = pair.public_key().as_ref();
        let (x, y) = (point.get(1..33), point.get(33..65));
        let encoded = |half: Option<&[u8]>| {
            URL_SAFE_NO_PAD.encode(half.expect("an uncompressed point of P-256 has 65 bytes"))
        };
        Self {
            algorithm: Algorithm::Es256,
            private: EncodingKey::from_ec_der(der.as_ref()),
            jwk: json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": encoded(x), "y": encoded(y)}),
        }
    }

    /// An Ed25519 key for EdDSA.
    ///
    /// # Panics
    /// If the cryptographic library fails.
    #[must_use]
    pub fn ed25519(kid: &str) -> Self {
        let der = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
            .expect("an Ed25519 key can be generated");
        let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).expect("a key just made");
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        Self {
            algorithm: Algorithm::EdDsa,
            private: EncodingKey::from_ed_der(der.as_ref()),
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x}),
        }
    }

    /// The private half in PEM.
    #[must_use]
    pub fn private_pem(&self) -> SecretString {
        // The library keeps RSA keys without their envelope.
        let label = match self.algorithm {
            Algorithm::Rs256 => "RSA PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        pem::encode(&pem::Pem::new(label, self.private.as_bytes())).into()
    }

    /// The public half as a JWK.
    #[must_use]
    pub fn jwk(&self) -> Value {
        self.jwk.clone()
    }

    /// The public half as a set of one key.
    ///
    /// # Panics
    /// Never: a key that was made here can be used.
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        let set = json!({ "keys": [self.jwk] }).to_string();
        JwkSet::parse(set.as_bytes()).expect("a key just made")
    }

    /// Signs `claims` under `header`, just as they are.
    ///
    /// # Panics
    /// If `algorithm` is not one for this key.
    #[must_use]
    pub fn sign_as(&self, algorithm: Algorithm, header: &Value, claims: &Value) -> String {
        signing::sign(header, claims, &self.private, algorithm).expect("an algorithm for this key")
    }

    /// A token of the issuer `https://idp.test` for the audience `fastmcp` about `subject`, good from `now` for ten
    /// minutes; to be changed before it is signed.
    #[must_use]
    pub fn token(&self, subject: &str, now: Timestamp) -> TokenBuilder<'_> {
        let now = now.unix_seconds();
        let claims = json!({
            "iss": "https://idp.test", "aud": "fastmcp", "sub": subject, "iat": now, "exp": now + 600,
        });
        let header =
            json!({"alg": self.algorithm.name(), "typ": "JWT", "kid": self.jwk.get("kid")});
        TokenBuilder {
            key: self,
            header,
            claims,
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("jwk", &self.jwk)
            .finish_non_exhaustive()
    }
}

/// A token that is about to be signed.
#[derive(Clone, Debug)]
pub struct TokenBuilder<'a> {
    key: &'a SigningKey,
    header: Value,
    claims: Value,
}

impl TokenBuilder<'_> {
    /// Sets a claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        set(&mut self.claims, name, Some(value.into()));
        self
    }

    /// Takes a claim out.
    #[must_use]
    pub fn without_claim(mut self, name: &str) -> Self {
        set(&mut self.claims, name, None);
        self
    }

    /// Sets a member of the header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        set(&mut self.header, name, Some(value.into()));
        self
    }

    /// Takes a member of the header out.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        set(&mut self.header, name, None);
        self
    }

    /// Signs the token.
    ///
    /// # Panics
    /// If the cryptographic library fails.
    #[must_use]
    pub fn sign(&self) -> String {
        self.key
            .sign_as(self.key.algorithm, &self.header, &self.claims)
    }
}

fn set(object: &mut Value, name: &str, value: Option<Value>) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    match value {
        Some(value) => object.insert(name.to_owned(), value),
        None => object.remove(name),
    };
}

/// A caller as a verified token would make one; to be completed and built.
#[must_use]
pub fn caller(subject: &str) -> CallerBuilder {
    CallerBuilder {
        identity: Identity {
            subject: subject.to_owned(),
            issuer: Some("https://idp.test".to_owned()),
            ..Identity::default()
        },
    }
}

/// A caller that is about to be built.
pub struct CallerBuilder {
    identity: Identity,
}

impl CallerBuilder {
    /// Sets the tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: &str) -> Self {
        self.identity.tenant = Some(tenant.to_owned());
        self
    }

    /// Sets the roles.
    #[must_use]
    pub fn roles<'a>(mut self, roles: impl IntoIterator<Item = &'a str>) -> Self {
        self.identity.roles = roles.into_iter().map(str::to_owned).collect();
        self
    }

    /// Sets the scopes that the token carries; without this call it carries none.
    #[must_use]
    pub fn scopes<'a>(mut self, scopes: impl IntoIterator<Item = &'a str>) -> Self {
        self.identity.scopes = Some(scopes.into_iter().map(str::to_owned).collect());
        self
    }

    /// Sets the OAuth client.
    #[must_use]
    pub fn client_id(mut self, client_id: &str) -> Self {
        self.identity.client_id = Some(client_id.to_owned());
        self
    }

    /// Sets the issuer.
    #[must_use]
    pub fn issuer(mut self, issuer: &str) -> Self {
        self.identity.issuer = Some(issuer.to_owned());
        self
    }

    /// Sets the expiry; there is no leeway beyond it.
    #[must_use]
    pub fn expires_at(mut self, expires_at: Timestamp) -> Self {
        self.identity.expires_at = Some(expires_at);
        self.identity.valid_until = Some(expires_at);
        self
    }

    /// Sets the claims.
    #[must_use]
    pub fn claims(mut self, claims: Map<String, Value>) -> Self {
        self.identity.claims = claims.into();
        self
    }

    /// Builds the caller.
    #[must_use]
    pub fn build(self) -> Caller {
        Caller::mint(self.identity)
    }
}

impl fmt::Debug for CallerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerBuilder")
            .field("subject", &self.identity.subject)
            .finish_non_exhaustive()
    }
}
