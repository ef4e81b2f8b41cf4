//! One public key.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc;
use serde_json::{Map, Value};

use crate::algorithm::{Algorithm, Family};
use crate::claims::read::is_text;

/// A public key that can check signatures.
pub struct VerifyingKey {
    id: Option<String>,
    family: Family,
    /// The one algorithm that the key is for, if its issuer says so.
    only: Option<Algorithm>,
    key: DecodingKey,
}

/// Why a key cannot be used.
#[derive(Debug)]
pub(super) enum Unusable {
    /// It is what it should be, and wrong or unsafe.
    Broken(&'static str),
    /// It is for something else.
    Foreign(&'static str),
}

use Unusable::{Broken, Foreign};

impl VerifyingKey {
    pub(super) fn from_jwk(jwk: &Value) -> Result<Self, Unusable> {
        let jwk = jwk.as_object().ok_or(Broken("it is not a JSON object"))?;
        if jwk.contains_key("d") {
            return Err(Broken("it is a private key: take it out and replace it"));
        }
        for_signatures(jwk)?;
        let id = match jwk.get("kid") {
            None => None,
            Some(Value::String(id)) if is_text(id) => Some(id.clone()),
            Some(_) => return Err(Broken("its `kid` is not a string of 1 to 255 bytes")),
        };
        let (family, key) = match member(jwk, "kty")? {
            "EC" => elliptic(jwk)?,
            "OKP" => edwards(jwk)?,
            "RSA" => (Family::Rsa, rsa(jwk)?),
            _ => return Err(Foreign("its `kty` is none of RSA, EC and OKP")),
        };
        let only = match jwk.get("alg") {
            None => None,
            Some(Value::String(name)) => Some(
                Algorithm::from_name(name).ok_or(Foreign("its `alg` is not one for signatures"))?,
            ),
            Some(_) => return Err(Broken("its `alg` is not a string")),
        };
        if only.is_some_and(|algorithm| algorithm.family() != family) {
            return Err(Broken("its `alg` does not go with its `kty` and `crv`"));
        }
        Ok(Self {
            id,
            family,
            only,
            key,
        })
    }

    /// The id of the key.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether the key is for `algorithm`.
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.family == algorithm.family() && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether `signature` was made over `message` with the other half of this key.
    #[must_use]
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        // The provider is named, not taken from the process: jsonwebtoken's process-wide one panics in a build in
        // which somebody else turned its other back end on.
        let verifier = (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&algorithm.library(), &self.key);
        verifier.is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("id", &self.id)
            .field("family", &self.family)
            .field("only", &self.only)
            .finish_non_exhaustive()
    }
}

/// Source: RFC 7517, sections 4.2 and 4.3.
fn for_signatures(jwk: &Map<String, Value>) -> Result<(), Unusable> {
    match jwk.get("use") {
        None => {}
        Some(Value::String(usage)) if usage == "sig" => {}
        Some(_) => return Err(Foreign("its `use` is not `sig`")),
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|o| o == "verify") => Ok(()),
        Some(_) => Err(Foreign("its `key_ops` do not hold `verify`")),
    }
}

fn member<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<&'a str, Unusable> {
    let value = jwk.get(name).and_then(Value::as_str);
    value.ok_or(Broken("a member that its `kty` needs is missing"))
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Unusable> {
    let text = member(jwk, name)?;
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Broken("a member is not base64url without padding"))
}

/// Source: RFC 7518, section 6.2.1: coordinates have the full length of their curve.
fn elliptic(jwk: &Map<String, Value>) -> Result<(Family, DecodingKey), Unusable> {
    let (family, length, curve): (_, _, &'static dyn VerificationAlgorithm) =
        match member(jwk, "crv")? {
            "P-256" => (Family::P256, 32, &ECDSA_P256_SHA256_FIXED),
            "P-384" => (Family::P384, 48, &ECDSA_P384_SHA384_FIXED),
            _ => return Err(Foreign("its `crv` is neither P-256 nor P-384")),
        };
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != length || y.len() != length {
        return Err(Broken("its coordinates have the wrong length"));
    }
    // SEC 1, section 2.3.3: an uncompressed point.
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    if UnparsedPublicKey::new(curve, &point).parse().is_err() {
        return Err(Broken("its coordinates are not a point of the curve"));
    }
    Ok((family, DecodingKey::from_ec_der(&point)))
}

fn edwards(jwk: &Map<String, Value>) -> Result<(Family, DecodingKey), Unusable> {
    if member(jwk, "crv")? != "Ed25519" {
        return Err(Foreign("its `crv` is not Ed25519"));
    }
    let x = bytes(jwk, "x")?;
    if x.len() != 32 {
        return Err(Broken("its `x` has not 32 bytes"));
    }
    Ok((Family::Ed25519, DecodingKey::from_ed_der(&x)))
}

/// Source: RFC 7518, section 3.3: at least 2048 bits; section 6.3.1: no leading zeros, which some issuers write anyway.
fn rsa(jwk: &Map<String, Value>) -> Result<DecodingKey, Unusable> {
    let (modulus, exponent) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    let modulus = without_leading_zeros(&modulus);
    let exponent = without_leading_zeros(&exponent);
    let first = modulus.first().copied().unwrap_or_default();
    let bits = (modulus.len() * 8).saturating_sub(first.leading_zeros() as usize);
    if !(2_048..=8_192).contains(&bits) {
        return Err(Broken("its modulus has not 2048 to 8192 bits"));
    }
    let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    if !odd(modulus) || !odd(exponent) || exponent == [1] || exponent.len() > 4 {
        return Err(Broken("its exponent or modulus is not one of RSA"));
    }
    Ok(DecodingKey::from_rsa_raw_components(modulus, exponent))
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

    const RFC_7515_A2_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

    /// RFC 7515, appendix A.2.1, the public half.
    fn rfc_7515_a2() -> Value {
        json!({
            "kty": "RSA",
            "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
            "e": "AQAB",
        })
    }

    fn check(jwk: &Value, algorithm: Algorithm, header: &str, signature: &str) {
        let key = VerifyingKey::from_jwk(jwk).unwrap();
        let message = format!("{header}.{PAYLOAD}");
        let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(key.verifies(algorithm, message.as_bytes(), &signature));
        assert!(!key.verifies(algorithm, b"another message", &signature));
        for wrong in [Algorithm::Ps256, Algorithm::Rs512, Algorithm::EdDsa] {
            assert!(!key.verifies(wrong, message.as_bytes(), &signature));
        }
        signature[7] ^= 1;
        assert!(!key.verifies(algorithm, message.as_bytes(), &signature));
        assert!(!key.verifies(algorithm, message.as_bytes(), &[]));
    }

    #[test]
    fn rfc_7515_appendix_a_2_rs256() {
        check(
            &rfc_7515_a2(),
            Algorithm::Rs256,
            "eyJhbGciOiJSUzI1NiJ9",
            RFC_7515_A2_SIGNATURE,
        );
    }

    #[test]
    fn rfc_7515_appendix_a_3_es256() {
        let jwk = json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        });
        check(
            &jwk,
            Algorithm::Es256,
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        );
    }

    #[test]
    fn rfc_8037_appendix_a_4_eddsa() {
        let jwk = json!({
            "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        });
        let key = VerifyingKey::from_jwk(&jwk).unwrap();
        let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = URL_SAFE_NO_PAD
            .decode("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
            .unwrap();
        assert!(key.verifies(Algorithm::EdDsa, message, &signature));
        assert!(!key.verifies(Algorithm::EdDsa, b"x", &signature));
    }

    #[test]
    fn an_rsa_exponent_of_one_or_even_is_refused() {
        for exponent in ["AQ", "AAAAAQ", "Ag", "", "AQAAAAE"] {
            let mut jwk = rfc_7515_a2();
            jwk["e"] = json!(exponent);
            assert!(VerifyingKey::from_jwk(&jwk).is_err(), "{exponent}");
        }
        let mut padded = rfc_7515_a2();
        padded["e"] = json!("AAEAAQ");
        assert!(VerifyingKey::from_jwk(&padded).is_ok());
    }

    #[test]
    fn a_key_with_an_algorithm_is_for_that_alone() {
        let mut jwk = rfc_7515_a2();
        let any = VerifyingKey::from_jwk(&jwk).unwrap();
        assert!(any.fits(Algorithm::Rs256) && any.fits(Algorithm::Ps512));
        jwk["alg"] = json!("PS256");
        let only = VerifyingKey::from_jwk(&jwk).unwrap();
        assert!(only.fits(Algorithm::Ps256) && !only.fits(Algorithm::Rs256));
        // Not even where the numbers are right.
        let message = format!("eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}");
        let signature = URL_SAFE_NO_PAD.decode(RFC_7515_A2_SIGNATURE).unwrap();
        assert!(any.verifies(Algorithm::Rs256, message.as_bytes(), &signature));
        assert!(!only.verifies(Algorithm::Rs256, message.as_bytes(), &signature));
    }
}
