//! Tokens that are good with one client certificate alone.
//!
//! A stolen token is worth nothing to whoever does not hold the key of the certificate as well.
//!
//! Source: RFC 8705, section 3, "Mutual-TLS Client Certificate-Bound Access Tokens".

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use crate::caller::Caller;
use crate::digest::sha256;

/// The SHA-256 of a certificate, as `x5t#S256` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbprint(String);

impl Thumbprint {
    /// Of a certificate in DER.
    #[must_use]
    pub fn of_der(certificate: &[u8]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(sha256(certificate)))
    }

    /// Of the first certificate in a PEM file; `None` if there is none.
    #[must_use]
    pub fn of_pem(text: &[u8]) -> Option<Self> {
        let blocks = pem::parse_many(text).ok()?;
        let first = blocks.iter().find(|block| block.tag() == "CERTIFICATE")?;
        Some(Self::of_der(first.contents()))
    }

    /// As it stands in a token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A token and the certificate with which it was shown do not belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindingError {
    /// The token is bound to another certificate, or to something that is not understood here.
    #[error("the token is bound to another client certificate")]
    Another,
    /// There is no client certificate.
    #[error("a client certificate is needed")]
    NoCertificate,
    /// The token is not bound.
    #[error("the token is not bound to a client certificate (`cnf`)")]
    Unbound,
}

impl BindingError {
    /// A fixed word for records and metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Another => "certificate",
            Self::NoCertificate => "no_certificate",
            Self::Unbound => "unbound",
        }
    }
}

/// Checks that `caller` shows the certificate (in DER) that its token is bound to. A bound token never passes without it; with
/// `required`, one that is not bound does not pass either.
///
/// # Errors
/// If they do not belong together.
pub fn check(caller: &Caller, shown: Option<&[u8]>, required: bool) -> Result<(), BindingError> {
    let Some(bound) = caller.claims().get("cnf") else {
        return match (required, shown) {
            (false, _) => Ok(()),
            (true, None) => Err(BindingError::NoCertificate),
            (true, Some(_)) => Err(BindingError::Unbound),
        };
    };
    let shown = shown.ok_or(BindingError::NoCertificate)?;
    // A binding of another kind (`jkt`) is a promise that is not kept here, so that the token is no good here.
    let Some(Value::String(bound)) = bound.get("x5t#S256") else {
        return Err(BindingError::Another);
    };
    let shown = Thumbprint::of_der(shown);
    if bool::from(bound.as_bytes().ct_eq(shown.0.as_bytes())) {
        Ok(())
    } else {
        Err(BindingError::Another)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn caller(cnf: Option<Value>) -> Caller {
        let claims = cnf.map(|cnf| ("cnf".to_owned(), cnf));
        crate::testing::caller("ada")
            .claims(claims.into_iter().collect())
            .build()
    }

    #[test]
    fn a_bound_token_needs_its_certificate() {
        let own = Thumbprint::of_der(b"own");
        let bound = caller(Some(json!({"x5t#S256": own.as_str()})));
        for required in [false, true] {
            assert_eq!(check(&bound, Some(b"own"), required), Ok(()));
            let refused = check(&bound, Some(b"other"), required);
            assert_eq!(refused, Err(BindingError::Another));
            let refused = check(&bound, None, required);
            assert_eq!(refused, Err(BindingError::NoCertificate));
        }
        for strange in [
            json!({}),
            json!({"jkt": "x"}),
            json!("x"),
            json!({"x5t#S256": 1}),
        ] {
            let refused = check(&caller(Some(strange)), Some(b"own"), false);
            assert_eq!(refused, Err(BindingError::Another));
        }
    }

    #[test]
    fn an_unbound_token_passes_only_where_nothing_is_required() {
        let free = caller(None);
        assert_eq!(check(&free, None, false), Ok(()));
        assert_eq!(check(&free, Some(b"own"), false), Ok(()));
        assert_eq!(check(&free, Some(b"own"), true), Err(BindingError::Unbound));
        assert_eq!(check(&free, None, true), Err(BindingError::NoCertificate));
    }

    #[test]
    fn a_thumbprint_is_that_of_the_first_certificate() {
        let block = |contents: &[u8]| pem::encode(&pem::Pem::new("CERTIFICATE", contents));
        let text = format!("words\n{}{}", block(b"one"), block(b"two"));
        let found = Thumbprint::of_pem(text.as_bytes()).unwrap();
        assert_eq!(found, Thumbprint::of_der(b"one"));
        assert_eq!(found.as_str().len(), 43);
        assert_eq!(Thumbprint::of_pem(b"none"), None);
    }
}
