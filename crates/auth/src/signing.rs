//! Signs tokens, for development and tests.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::crypto::aws_lc;
use serde_json::Value;

use crate::algorithm::Algorithm;

/// Signs `claims` under `header`; `None` if the key is not one for `algorithm`.
///
/// The provider is named for the reason that [`crate::jwks::VerifyingKey::verifies`] gives.
pub(crate) fn sign(
    header: &Value,
    claims: &Value,
    key: &EncodingKey,
    algorithm: Algorithm,
) -> Option<String> {
    let signer = (aws_lc::DEFAULT_PROVIDER.signer_factory)(&algorithm.library(), key).ok()?;
    let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut token);
    let signature = signer.try_sign(token.as_bytes()).ok()?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Some(token)
}
