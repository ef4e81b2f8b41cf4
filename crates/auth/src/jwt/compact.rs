//! The three parts of a token, and its header.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::algorithm::Algorithm;
use crate::claims;
use crate::verifier::VerifyError;

/// The most characters of a token's `alg` that are repeated in an error.
const MAX_SHOWN: usize = 16;

/// A token in its compact form, split.
///
/// Source: RFC 7515, section 7.1.
pub(super) struct Compact<'a> {
    pub(super) header: &'a str,
    pub(super) payload: &'a str,
    pub(super) signature: &'a str,
    /// Header and payload, as they were signed.
    pub(super) signed: &'a str,
}

impl<'a> Compact<'a> {
    pub(super) fn split(token: &'a str) -> Result<Self, VerifyError> {
        let not_three = VerifyError::Malformed("it has not three parts");
        let Some((signed, signature)) = token.rsplit_once('.') else {
            return Err(not_three);
        };
        match signed.split_once('.') {
            Some((header, payload)) if !payload.contains('.') => Ok(Self {
                header,
                payload,
                signature,
                signed,
            }),
            _ => Err(not_three),
        }
    }
}

/// What of a header is looked at. `jku`, `jwk`, `x5u`, `x5c` are not: a token must not bring its own key.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
}

impl Header {
    /// Parses a header that may use one of `allowed`.
    pub(super) fn parse(encoded: &str, allowed: &[Algorithm]) -> Result<Self, VerifyError> {
        let header = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| VerifyError::Malformed("its header is not base64url"))?;
        let header = claims::parse_object(&header)
            .map_err(|_| VerifyError::Malformed("its header is not an object of unique names"))?;
        // RFC 7515, section 4.1.11: whoever does not understand all that is named must refuse; we know no extension.
        if header.contains_key("crit") {
            return Err(VerifyError::Critical);
        }
        match header.get("typ") {
            None => {}
            Some(Value::String(media_type)) if is_token_type(media_type) => {}
            Some(_) => return Err(VerifyError::Type),
        }
        let Some(Value::String(name)) = header.get("alg") else {
            return Err(VerifyError::Malformed("its `alg` is not a string"));
        };
        let algorithm = Algorithm::from_name(name).filter(|known| allowed.contains(known));
        let Some(algorithm) = algorithm else {
            let algorithm = name.chars().filter(char::is_ascii_graphic);
            return Err(VerifyError::Algorithm {
                algorithm: algorithm.take(MAX_SHOWN).collect(),
            });
        };
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(VerifyError::Malformed("its `kid` is not a string")),
        };
        Ok(Self { algorithm, kid })
    }
}

/// Source: RFC 9068, section 4 (`at+jwt` with and without `application/`); RFC 7515, section 4.1.9 (case does not count).
fn is_token_type(media_type: &str) -> bool {
    let known = ["JWT", "at+jwt", "application/jwt", "application/at+jwt"];
    known.iter().any(|k| k.eq_ignore_ascii_case(media_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(header: &str) -> Result<Header, VerifyError> {
        let encoded = URL_SAFE_NO_PAD.encode(header);
        Header::parse(&encoded, &[Algorithm::Rs256, Algorithm::EdDsa])
    }

    #[test]
    fn three_parts_no_more_no_less() {
        for bad in ["", ".", "a", "a.b", "a.b.c.d", "a.b.c.d.e"] {
            assert!(Compact::split(bad).is_err(), "{bad}");
        }
        let parts = Compact::split("h.p.s").unwrap();
        assert_eq!(
            (parts.header, parts.payload, parts.signature, parts.signed),
            ("h", "p", "s", "h.p")
        );
    }

    #[test]
    fn headers_that_are_accepted() {
        for good in [
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"RS256","typ":"JWT"}"#,
            r#"{"alg":"RS256","typ":"at+jwt"}"#,
            r#"{"alg":"RS256","typ":"AT+JWT"}"#,
            r#"{"alg":"RS256","typ":"application/at+jwt"}"#,
            r#"{"alg":"RS256","jku":"https://evil.example","x5u":"x","jwk":{"kty":"oct","k":""}}"#,
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        let header = parse(r#"{"alg":"Ed25519","kid":"../../etc/passwd"}"#).unwrap();
        assert_eq!(header.algorithm, Algorithm::EdDsa);
        assert_eq!(header.kid.as_deref(), Some("../../etc/passwd"));
    }

    #[test]
    fn headers_that_are_refused() {
        for (bad, reason) in [
            (r#"{"alg":"none"}"#, "algorithm"),
            (r#"{"alg":"None"}"#, "algorithm"),
            (r#"{"alg":"HS256"}"#, "algorithm"),
            (r#"{"alg":"ES256"}"#, "algorithm"),
            (r#"{"alg":""}"#, "algorithm"),
            (r#"{"alg":["RS256"]}"#, "malformed"),
            (r#"{"typ":"JWT"}"#, "malformed"),
            (r#"{"alg":"RS256","alg":"none"}"#, "malformed"),
            (r#"{"alg":"RS256","kid":7}"#, "malformed"),
            (r#"{"alg":"RS256","kid":null}"#, "malformed"),
            (r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, "critical"),
            (r#"{"alg":"RS256","crit":null}"#, "critical"),
            (r#"{"alg":"RS256","crit":[]}"#, "critical"),
            (r#"{"alg":"RS256","typ":"dpop+jwt"}"#, "type"),
            (r#"{"alg":"RS256","typ":"id_token"}"#, "type"),
            (r#"{"alg":"RS256","typ":null}"#, "type"),
            ("[]", "malformed"),
            ("", "malformed"),
        ] {
            assert_eq!(parse(bad).unwrap_err().reason(), reason, "{bad}");
        }
        let refused = Header::parse("e30=", &[]).unwrap_err();
        assert_eq!(refused.reason(), "malformed", "padding is not allowed");
    }

    #[test]
    fn a_long_algorithm_is_shortened_for_the_log() {
        let refused = parse(&format!(r#"{{"alg":"{}\n"}}"#, "x".repeat(500))).unwrap_err();
        assert!(refused.to_string().len() < 80, "{refused}");
    }
}
