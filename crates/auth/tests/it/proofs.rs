//! What the other side checks of proofs and statements, with the JWT library.

use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

pub(crate) struct Proof {
    pub(crate) claims: Value,
    pub(crate) thumbprint: String,
}

/// A DPoP proof whose signature holds (RFC 9449, section 4.3).
pub(crate) fn verified(proof: &str) -> Proof {
    let header = jsonwebtoken::decode_header(proof).unwrap();
    assert_eq!(header.typ.as_deref(), Some("dpop+jwt"));
    assert_eq!(header.alg, Algorithm::ES256);
    let jwk: Jwk = header.jwk.unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_jwk(&jwk).unwrap();
    let claims = jsonwebtoken::decode::<Value>(proof, &key, &validation)
        .unwrap()
        .claims;
    assert!(claims["jti"].as_str().unwrap().len() >= 16);
    Proof {
        claims,
        thumbprint: jwk.thumbprint(ThumbprintHash::SHA256).unwrap(),
    }
}

/// The claims of a statement for `audience` whose signature holds.
pub(crate) fn statement(statement: &str, jwk: &Value, audience: &str) -> Value {
    let jwk: Jwk = serde_json::from_value(jwk.clone()).unwrap();
    let header = jsonwebtoken::decode_header(statement).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.validate_exp = false;
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    let key = DecodingKey::from_jwk(&jwk).unwrap();
    jsonwebtoken::decode::<Value>(statement, &key, &validation)
        .unwrap()
        .claims
}
